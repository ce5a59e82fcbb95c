"""Where settings are written: the environment, and one file in dotenv form beneath it."""

import difflib
import os
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import parse_stream

PREFIX = "MACHETE_"

# Read by others than the services, and so no mistake in their environment.
NOT_SETTINGS: Mapping[str, str] = {
    "MACHETE_URL": "The platform that the `machete` command talks to.",
    "MACHETE_TOKEN": "The token that the `machete` command shows there.",
    "MACHETE_SETUP_ENGINE": "`1` lets `make setup` install a Docker Engine without asking.",
    "NATS_SERVER_BIN": "The NATS server program to embed, instead of the one on PATH or the one that comes along.",
    "DOCKER_HOST": "The Docker Engine, as for Docker's own client; also `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`.",
}
# Tests mark the processes they start with such a variable.
_MARKS = "MACHETE_TEST_"


class SettingsError(Exception):
    """A setting that is unknown, wrong or missing; the text says which, where, and what would be right."""


@dataclass(frozen=True)
class Entry:
    value: str
    origin: str


def variable(field: str) -> str:
    return PREFIX + field.upper()


def default_data() -> Path:
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "share") / "machete"


def read_environment() -> dict[str, Entry]:
    ours = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    return {name: Entry(value, "the environment") for name, value in ours.items()}


def read_file(path: Path) -> dict[str, Entry]:
    """`NAME=value` lines, quoted and commented as in any dotenv file; `$` is only a dollar.

    Empty where there is no file. Raises `SettingsError` for a line that says nothing.
    """
    entries: dict[str, Entry] = {}
    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    for binding in bindings:
        origin = f"{path}:{_line(binding.original.string, binding.original.line)}"
        if binding.error or (binding.key is not None and binding.value is None):
            line = binding.original.string.strip()
            raise SettingsError(f"{origin}: {line[:80]!r} is not of the form NAME=value")
        if binding.key is None or binding.value is None:
            continue
        if binding.key in entries:
            before = entries[binding.key].origin
            raise SettingsError(f"{origin}: {binding.key} was set before, at {before}; keep one")
        entries[binding.key] = Entry(binding.value, origin)
    return entries


def refuse_unknown(known: AbstractSet[str], file: Path) -> None:
    """Raises `SettingsError` for a name in the environment or the file that nobody reads."""
    entries = read_file(file)
    if "MACHETE_DATA" in entries:
        origin = entries["MACHETE_DATA"].origin
        raise SettingsError(f"{origin}: MACHETE_DATA says where this file lies: set it in the environment")
    both = [*read_environment().items(), *entries.items()]
    strange = [(name, entry) for name, entry in both if name not in known and name not in NOT_SETTINGS]
    unknown = [(name, entry.origin) for name, entry in strange if not name.startswith(_MARKS)]
    if unknown:
        raise SettingsError(
            "\n".join(f"{origin}: there is no setting {name}{_hint(name, known)}" for name, origin in unknown)
        )


def _hint(name: str, known: AbstractSet[str]) -> str:
    candidates = {each.removeprefix(PREFIX): each for each in known}
    wanted = name.upper().removeprefix(PREFIX)
    near = difflib.get_close_matches(wanted, candidates, n=1, cutoff=0.5)
    return f"; did you mean {candidates[near[0]]}?" if near else "; docs/settings.md lists those that there are"


def _line(text: str, first: int) -> int:
    """The parser counts from the blank lines before a binding; people count from the binding."""
    return first + len(text[: len(text) - len(text.lstrip())].splitlines())
