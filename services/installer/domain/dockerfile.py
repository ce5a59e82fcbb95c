"""The port a Dockerfile exposes: enough of its grammar to find it, nothing more."""

import re
from collections.abc import Iterator

_HEREDOC = re.compile(r"<<-?\s*([\"']?)(\w+)\1")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?[^}]*\}|(\w+))")


def exposed_port(text: str) -> int | None:
    """The first TCP port that the last stage exposes, itself or through the stage it starts from; None without one."""
    stages: dict[str, list[int]] = {}
    variables: dict[str, str] = {}
    ports: list[int] = []
    for word, rest in _instructions(text):
        if word in ("ARG", "ENV"):
            variables |= _assignments(rest, variables)
        elif word == "FROM":
            image, _, name = (re.sub(r"--\S+\s+", "", rest) + "  ").partition(" ")
            ports = list(stages.get(image.lower(), []))
            named = re.match(r"\s*as\s+(\S+)", name, re.IGNORECASE)
            stages[named[1].lower() if named else str(len(stages))] = ports
        elif word == "EXPOSE":
            ports += [port for part in _filled_in(rest, variables).split() if (port := _tcp_port(part))]
    return ports[0] if ports else None


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """Instructions in capitals and what follows each; continued lines joined, comments and heredocs left out."""
    escape = "`" if re.match(r"(?i)\s*#\s*escape\s*=\s*`", text) else "\\"
    lines = iter(text.splitlines())
    for line in lines:
        joined = line.strip()
        if not joined or joined.startswith("#"):
            continue
        while joined.endswith(escape):
            following = next(lines, "")
            if not following.strip().startswith("#"):
                joined = f"{joined[:-1]} {following.strip()}"
        word, _, rest = joined.partition(" ")
        yield word.upper(), rest.strip()
        for _, end in _HEREDOC.findall(rest) if word.upper() in ("RUN", "COPY", "ADD") else []:
            while (body := next(lines, None)) is not None and body.strip() != end:
                pass


def _assignments(rest: str, known: dict[str, str]) -> dict[str, str]:
    pairs = re.findall(r"(\w+)=(\"[^\"]*\"|'[^']*'|\S*)", rest) or re.findall(r"^(\w+)\s+(.*)$", rest)
    return {name: _filled_in(value.strip("\"'"), known) for name, value in pairs}


def _filled_in(text: str, variables: dict[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[3], match[2] or ""), text)


def _tcp_port(part: str) -> int | None:
    match = re.fullmatch(r"\"?(\d{1,5})(?:-\d{1,5})?(?:/tcp)?\"?", part, re.IGNORECASE)
    port = int(match[1]) if match else 0
    return port if 1 <= port <= 65535 else None
