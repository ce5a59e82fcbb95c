"""The port a Dockerfile exposes: enough of its grammar to find it, nothing more.

A stranger wrote the file, so the work on it grows with its length and no faster.
"""

import re
from collections.abc import Iterator

MAX_INSTRUCTION = 8 * 1024
MAX_VALUE = 64  # of a variable: more than any port needs

_HEREDOC = re.compile(r"<<-?\s*([\"']?)(\w+)\1")
_VARIABLE = re.compile(r"\$(?:\{([^{}]*)\}|(\w+))")
_WITH_DEFAULT = re.compile(r"(\w+)(?::?-(.*))?", re.DOTALL)
_WORD = re.compile(r"(?:\"[^\"]*\"|'[^']*'|\S)+")


def exposed_port(text: str) -> int | None:
    """The first TCP port that the last stage exposes, itself or through the stage it starts from; None without one.

    Instructions of more than `MAX_INSTRUCTION` characters say nothing.
    """
    stages: dict[str, int | None] = {}
    variables: dict[str, str] = {}
    stage = ""
    port: int | None = None
    for word, rest in _instructions(text):
        if word in ("ARG", "ENV"):
            variables |= _assignments(rest, variables)
        elif word == "FROM":
            image, name = _stage(rest)
            port = stages.get(image)
            stage = name or str(len(stages))
            stages[stage] = port
        elif word == "EXPOSE" and port is None:
            ports = (_tcp_port(part) for part in _filled_in(rest, variables).split())
            port = next((found for found in ports if found is not None), None)
            if stage:
                stages[stage] = port
    return port


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """Instructions in capitals and what follows each; continued lines joined, comments and heredocs left out."""
    escape = "`" if re.match(r"(?i)\s*#\s*escape\s*=\s*`", text) else "\\"
    lines = iter(text.splitlines())
    for line in lines:
        piece = line.strip()
        if not piece or piece.startswith("#"):
            continue
        pieces: list[str] = []
        while piece.endswith(escape):
            pieces.append(piece[:-1])
            piece = next((after for each in lines if not (after := each.strip()).startswith("#")), "")
        word, _, rest = " ".join([*pieces, piece]).partition(" ")
        if len(rest) <= MAX_INSTRUCTION:
            yield word.upper(), rest.strip()
        for _, end in _HEREDOC.findall(rest) if word.upper() in ("RUN", "COPY", "ADD") else []:
            while (body := next(lines, None)) is not None and body.strip() != end:
                pass


def _stage(rest: str) -> tuple[str, str | None]:
    """The image that a stage starts from, and the stage's own name."""
    words = [word.lower() for word in rest.split() if not word.startswith("--")]
    return words[0] if words else "", words[2] if len(words) > 2 and words[1] == "as" else None


def _assignments(rest: str, known: dict[str, str]) -> dict[str, str]:
    words: list[str] = _WORD.findall(rest)
    pairs = [word.split("=", 1) for word in words if "=" in word]
    if not pairs and len(words) > 1:
        pairs = [rest.split(None, 1)]
    values = {name: _filled_in(value.strip("\"'"), known) for name, value in pairs}
    return {name: value if len(value) <= MAX_VALUE else "" for name, value in values.items()}


def _filled_in(text: str, variables: dict[str, str]) -> str:
    """The text with its variables' values; empty if that is longer than an instruction may be."""

    def value(match: re.Match[str]) -> str:
        inner = _WITH_DEFAULT.match(match[1] or match[2])
        return variables.get(inner[1], inner[2] or "") if inner else match[0]

    filled = _VARIABLE.sub(value, text)
    return filled if len(filled) <= MAX_INSTRUCTION else ""


def _tcp_port(part: str) -> int | None:
    match = re.fullmatch(r"\"?(\d{1,5})(?:-\d{1,5})?(?:/tcp)?\"?", part, re.IGNORECASE)
    port = int(match[1]) if match else 0
    return port if 1 <= port <= 65535 else None
