"""The single values of a manifest: what each may be, and what it becomes.

Every rule is one sentence that a person reads when it is broken.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Literal, Self, cast

from pydantic import BeforeValidator, WithJsonSchema, model_validator

from libs.contracts.envelope import Frozen
from libs.contracts.source import Refused, check_subdir, slug
from libs.contracts.written import Bad

CATEGORIES = (
    "automation",
    "devops",
    "testing",
    "analysis",
    "monitoring",
    "security",
    "collaboration",
    "other",
)
MIN_MEMORY = 6 * 1024**2
MAX_SECONDS = 3600

_MEMORY_UNITS = {"": 1, "k": 10**3} | {
    letter + i: (1024 if i else 1000) ** power for power, letter in enumerate("KMGT", 1) for i in ("", "i")
}
# A small m is Docker's; nobody means the thousandths of a byte that it stands for elsewhere.
_DOCKER_UNITS = {letter: 1024**power for power, letter in enumerate("mgt", 2)}
_VARIABLE = r"[^\s=\x00-\x20\x7f]{1,200}"
_NUMBER = r"\d{1,15}(?:\.\d{1,9})?"

PORT_RULE = "a port is a whole number from 1 to 65535"
PATH_RULE = "a path is relative to the tool's folder in the repository, like conf/app.json, and never leaves it"
VOLUME_RULE = (
    "a volume is SOURCE:TARGET or SOURCE:TARGET:ro, its source like ./data (in the tool's own data folder) "
    "or a name, its target an absolute path inside the container"
)
MEMORY_RULE = "memory is at least 6Mi, in bytes or with Ki, Mi, Gi, Ti (1024) or K, M, G, T (1000), like 512Mi"
CPU_RULE = "cpu is a number of cores like 0.5 or thousandths of one like 500m, at least 10m"
RESTARTS = ("always", "unless-stopped", "on-failure", "no")
RESTART_RULE = f"a restart is one of {', '.join(RESTARTS)}"
TIMEOUT_RULE = f"a timeout is a number of seconds from 1 to {MAX_SECONDS}, like 90, 90s or 2m"


class Volume(Frozen):
    """`source` is a path below the tool's data folder (`.`: the folder itself) or a named volume's name."""

    kind: Literal["path", "named"]
    source: str
    target: str
    read_only: bool = False

    @model_validator(mode="after")
    def _stays_inside(self) -> Self:
        """Held wherever a volume is decoded too, not only where a manifest is read."""
        path = _volume_path(self.source) if self.kind == "path" else _volume_name(self.source)
        if path != self.source or _volume_target(self.target) != self.target:
            raise Bad(VOLUME_RULE)
        return self


def text_of(value: object, rule: str, *, limit: int, lines: bool = False) -> str:
    """A text of 1 to `limit` characters, none a control character (line ends and tabs with `lines`)."""
    if not isinstance(value, str):
        raise Bad(rule)
    text = value.strip()
    plain = text.replace("\n", " ").replace("\t", " ") if lines else text
    if not text or len(text) > limit or any(ord(char) < 32 or 127 <= ord(char) < 160 for char in plain):
        raise Bad(rule)
    if not _encodable(text):
        raise Bad(rule)
    return text


def tool_title(value: object) -> str:
    rule = "a name has 1 to 100 letters, digits, spaces and . _ - + & : , ! ' ( ), and starts with a letter or digit"
    text = text_of(value, rule, limit=100)
    if re.fullmatch(r"\w[\w .+&:,!'()-]*", text) is None or not slug(text):
        raise Bad(rule)
    return text


def category(value: object) -> str:
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in CATEGORIES:
        raise Bad(f"a category is one of {', '.join(CATEGORIES)}")
    return word


def restart(value: object) -> str:
    """YAML reads a bare `no` as false."""
    word = "no" if value is False else value.strip().lower() if isinstance(value, str) else ""
    if word not in RESTARTS:
        raise Bad(RESTART_RULE)
    return word


def port(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"\d{1,5}", value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        raise Bad(PORT_RULE)
    return value


def url_path(value: object) -> str:
    rule = "a path of the tool's web address starts with / and has no spaces, like /health"
    text = text_of(value, rule, limit=2000)
    if not text.startswith("/") or re.search(r"\s", text) or "\\" in text:
        raise Bad(rule)
    return text


def inner_path(value: object) -> str:
    """A path inside the repository, relative to the tool's folder."""
    text = text_of(value, PATH_RULE, limit=500)
    try:
        return check_subdir(text)
    except Refused:
        raise Bad(PATH_RULE) from None


def service_name(value: object) -> str:
    rule = "a service is named as in the Compose file: up to 63 letters, digits and . _ -"
    text = text_of(value, rule, limit=63)
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text) is None:
        raise Bad(rule)
    return text


def switch(value: object) -> bool:
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if isinstance(value, str):
        value = words.get(value.strip().lower())
    if not isinstance(value, bool):
        raise Bad("this is true or false")
    return value


def seconds(value: object) -> float:
    text = str(value).strip() if isinstance(value, int | float | str) and not isinstance(value, bool) else ""
    match = re.fullmatch(rf"({_NUMBER})\s*(s|m|)", text)
    number = float(match[1]) * (60 if match[2] == "m" else 1) if match else 0
    if not 1 <= number <= MAX_SECONDS:
        raise Bad(TIMEOUT_RULE)
    return number


def memory_bytes(value: object) -> int:
    match = re.fullmatch(rf"({_NUMBER})\s*(?:([KMGT]i|[kKMGT]|)B?|([mgt])b?)", str(value).strip())
    number = int(Decimal(match[1]) * (_MEMORY_UNITS | _DOCKER_UNITS)[match[2] or match[3] or ""]) if match else 0
    if not MIN_MEMORY <= number < 2**63:
        raise Bad(MEMORY_RULE)
    return number


def nano_cpus(value: object) -> int:
    match = re.fullmatch(rf"({_NUMBER})\s*(m?)", str(value).strip())
    number = int(Decimal(match[1]) * (10**6 if match[2] else 10**9)) if match else 0
    if not 10**7 <= number < 2**63:
        raise Bad(CPU_RULE)
    return number


def volume(value: object) -> Volume:
    if isinstance(value, Volume):
        return value
    text = text_of(value, VOLUME_RULE, limit=1000)
    source, *rest = text.split(":")
    if len(rest) not in (1, 2) or not source or (len(rest) == 2 and rest[1] not in ("ro", "rw")):
        raise Bad(VOLUME_RULE)
    is_path = "/" in source or source in (".", "..")
    return Volume(
        kind="path" if is_path else "named",
        source=_volume_path(source) if is_path else _volume_name(source),
        target=_volume_target(rest[0]),
        read_only=rest[-1] == "ro",
    )


def environment(value: object) -> dict[str, str]:
    """Names and values of a list (`NAME=value`) or a mapping, every value whole.

    A name without a value is not set at all: it is never filled from the environment of the platform.
    """
    pairs = _variables(value)
    variables: dict[str, str] = {}
    faults: dict[str | int, Bad] = {}
    for place, name, item in pairs:
        fault = _variable_fault(name, item, variables)
        if fault:
            faults[place] = fault
        elif item is not None:
            variables[str(name)] = str(item)
    if faults:
        raise Bad("the environment has entries that cannot be set", others=faults)
    return variables


def _variables(value: object) -> list[tuple[str | int, object, object]]:
    """Where each variable stands, its name and its value."""
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return [(str(name), name, item) for name, item in items]
    if isinstance(value, list | tuple):
        entries = cast("Sequence[object]", value)
        return [(place, *_split_variable(entry)) for place, entry in enumerate(entries)]
    raise Bad("the environment is a list of NAME=value or a mapping of names to values")


def _split_variable(entry: object) -> tuple[object, object]:
    if not isinstance(entry, str):
        return None, None
    name, sign, item = entry.partition("=")
    return name, item if sign else None


def _variable_fault(name: object, value: object, seen: Mapping[str, str]) -> Bad | None:
    """What is wrong with a variable. The value is never shown: it may be a secret."""
    if name is None:
        return Bad('an entry of this list is NAME=value, in quotes if it has ": " or " #" in it')
    if not isinstance(name, str) or not re.fullmatch(_VARIABLE, name) or not _encodable(name):
        return Bad("a variable's name has 1 to 200 characters, none of them a space, = or control character")
    if name in seen:
        return Bad("this variable is set twice; set it once", found=f"{name} again")
    if isinstance(value, Mapping | list | tuple):
        return Bad("the value of a variable is a text; put a structure in quotes as JSON")
    if value is not None and ("\0" in str(value) or not _encodable(str(value))):
        return Bad("the value of a variable is a text without NUL bytes", found="bytes that are no text")
    return None


def _volume_path(source: str) -> str:
    if source.startswith(("/", "~")):
        raise Bad(f"paths of the host are not mounted; {VOLUME_RULE}")
    parts = [part for part in source.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Bad(f"`..` leads out of the tool's data folder; {VOLUME_RULE}")
    if re.search(r"[$\\]", source):
        raise Bad(f"$ and backslashes are not replaced here; {VOLUME_RULE}")
    return "/".join(parts) or "."


def _volume_name(source: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", source) is None:
        raise Bad(f"a named volume has letters, digits and . _ -; {VOLUME_RULE}")
    return source


def _volume_target(target: str) -> str:
    parts = [part for part in target.split("/") if part not in ("", ".")]
    if not target.startswith("/") or not parts or ".." in parts or re.search(r"[$\\]", target):
        raise Bad(VOLUME_RULE)
    return "/" + "/".join(parts)


def _encodable(text: str) -> bool:
    """Whether it is text at all: half of a surrogate pair is not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text_or_number(*examples: str | float) -> WithJsonSchema:
    return WithJsonSchema({"type": ["string", "number"], "examples": list(examples)})


_PORT_SCHEMA = WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 65535})
_VOLUME_SCHEMA = WithJsonSchema({"type": "string", "examples": ["./data:/app/data", "cache:/cache:ro"]})

Port = Annotated[int, BeforeValidator(port), _PORT_SCHEMA]
UrlPath = Annotated[str, BeforeValidator(url_path), WithJsonSchema({"type": "string", "pattern": r"^/\S*$"})]
InnerPath = Annotated[str, BeforeValidator(inner_path), WithJsonSchema({"type": "string", "minLength": 1})]
ServiceName = Annotated[str, BeforeValidator(service_name), WithJsonSchema({"type": "string", "maxLength": 63})]
Switch = Annotated[bool, BeforeValidator(switch), WithJsonSchema({"type": "boolean"})]
Title = Annotated[str, BeforeValidator(tool_title), WithJsonSchema({"type": "string", "maxLength": 100})]
Category = Annotated[str, BeforeValidator(category), WithJsonSchema({"enum": list(CATEGORIES)})]
Restart = Annotated[
    Literal["always", "unless-stopped", "on-failure", "no"],
    BeforeValidator(restart),
    WithJsonSchema({"enum": [*RESTARTS, False]}),
]
Seconds = Annotated[float, BeforeValidator(seconds), _text_or_number(90, "90s", "2m")]
Memory = Annotated[int, BeforeValidator(memory_bytes), _text_or_number("512Mi")]
Cpu = Annotated[int, BeforeValidator(nano_cpus), _text_or_number("500m", 0.5)]
VolumeText = Annotated[Volume, BeforeValidator(volume), _VOLUME_SCHEMA]
Environment = Annotated[
    dict[str, str],
    BeforeValidator(environment),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "string"}, "examples": [["LOG_LEVEL=info"]]},
                {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
            ]
        }
    ),
]
