"""Values together with where they were written, and problems that point there.

Whoever reads YAML or JSON hands over a tree of `Written`; what is wrong with a value can then be
said as file, line, key, what was found and what is allowed.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from libs.contracts.problems import Problem

Scalar = None | bool | int | float | str
Plain = Scalar | list["Plain"] | dict[str, "Plain"]
Place = tuple[str | int, ...]

MAX_FOUND = 60


@dataclass(frozen=True)
class Written:
    """A node of a document. `line` (from 1) is its key's if it has one; `text` is a scalar as typed."""

    value: "Scalar | tuple[Written, ...] | Mapping[str, Written]"
    line: int
    text: str = ""

    def children(self) -> Iterator[tuple[str | int, "Written"]]:
        if isinstance(self.value, Mapping):
            yield from self.value.items()
        elif isinstance(self.value, tuple):
            yield from enumerate(self.value)

    def at(self, place: Place) -> "Written":
        """What stands there; the nearest part around it where nothing does."""
        node = self
        for step in place:
            found = next((child for key, child in node.children() if key == step), None)
            if found is None:
                return node
            node = found
        return node


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a file. `found` is None where nothing stands that could be shown."""

    file: str
    line: int | None
    key: str
    found: str | None
    rule: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        said = f"found {self.found}; {self.rule}" if self.found is not None else self.rule
        return f"{place}: {self.key}: {said}" if self.key else f"{place}: {said}"


class InvalidManifest(ValueError):
    """All faults of a file at once, in the order of its lines."""

    def __init__(self, faults: Iterable[Fault], code: str = "manifest_invalid") -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: fault.line or 0))
        self.code = code
        super().__init__(self.message)

    @property
    def message(self) -> str:
        first = str(self.faults[0])
        rest = len(self.faults) - 1
        return f"{first} (and {rest} more)" if rest else first

    @property
    def problem(self) -> Problem:
        faults = [str(fault) for fault in self.faults]
        return Problem(code=self.code, message=self.message, detail={"faults": faults})


class Bad(ValueError):
    """A value that breaks a rule: the rule as a sentence, and what was found if that is not the whole value.

    Several entries of one value are refused together as `others`, each with the key or index it stands under.
    """

    def __init__(self, rule: str, *, found: str | None = None, others: "Mapping[str | int, Bad] | None" = None) -> None:
        super().__init__(rule)
        self.rule = rule
        self.found = found
        self.others = others or {}


def key_text(place: Place) -> str:
    """`machete.volumes[1]`"""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text if text.isprintable() and len(text) <= 120 else json.dumps(text[:120])


def found_text(value: object) -> str:
    """A value as it may be shown: JSON on one line, cut, without control characters."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return text if len(text) <= MAX_FOUND else f"{text[:MAX_FOUND]}…"
