"""What a document may cost, however hostile it is.

Bytes are counted before it is parsed, then depth, nodes and characters, each again for every alias that
repeats them.
"""

from dataclasses import dataclass, field
from typing import NoReturn

from libs.contracts.written import Fault, InvalidManifest

MAX_BYTES = 128 * 1024
MAX_DEPTH = 40
MAX_NODES = 10_000
MAX_CHARACTERS = 512 * 1024


@dataclass
class Budget:
    """What is spent of it while one file is read, and the faults that do not stop the reading."""

    file: str
    nodes: int = 0
    characters: int = 0
    faults: list[Fault] = field(default_factory=list[Fault])

    def spend(self, line: int, *, nodes: int = 1, characters: int = 0) -> None:
        self.nodes += nodes
        self.characters += characters
        if self.nodes > MAX_NODES or self.characters > MAX_CHARACTERS:
            self.stop(
                line,
                f"with its aliases this holds more than {MAX_NODES} values or {MAX_CHARACTERS} characters: write less",
            )

    def check_depth(self, depth: int, line: int) -> None:
        if depth > MAX_DEPTH:
            self.stop(line, f"this is nested more than {MAX_DEPTH} deep")

    def check_text(self, text: str, line: int) -> None:
        """Texts travel as UTF-8 and end in databases and environments: neither takes these."""
        if "\0" in text or (not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)):
            self.note(line, "a text holds no NUL and no half of a surrogate pair")

    def note(self, line: int, rule: str, key: str = "", found: str | None = None) -> None:
        self.faults.append(Fault(self.file, line, key, found, rule))

    def stop(self, line: int | None, rule: str) -> NoReturn:
        raise InvalidManifest([*self.faults, Fault(self.file, line, "", None, rule)])


def decoded(raw: bytes, file: str) -> str:
    """The text of a file that a person wrote: UTF-8, of bounded size, without control characters."""
    budget = Budget(file)
    if len(raw) > MAX_BYTES:
        budget.stop(None, f"the file is larger than {MAX_BYTES // 1024} KiB, which is the most a manifest may be")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        budget.stop(line, f"byte {raw[error.start]:#04x} is no UTF-8; save the file as UTF-8")
    for number, line in enumerate(text.split("\n"), start=1):
        control = next((char for char in line if _is_control(char)), None)
        if control is not None:
            budget.stop(number, f"there is a control character (U+{ord(control):04X}); take it out")
    if not text.strip():
        budget.stop(None, "the file is empty; a manifest has keys like name, version and machete")
    return text


def _is_control(char: str) -> bool:
    return (char < " " and char not in "\t\r") or ("\x7f" <= char < "\xa0" and char != "\x85")
