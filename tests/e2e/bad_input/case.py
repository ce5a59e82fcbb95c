"""What a case of bad input is: what somebody did, how to do it again, and what is said to them.

The sentences lie in `said.json`, apart from the code that provokes them: they are the interface. A `|` parts
what is wrong from what would be right; `<…>` stands for what differs from time to time, if `STANDS_FOR` has it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tests.e2e.bad_input.bench import Bench

SAID = Path(__file__).with_name("said.json")

Leaves = Literal["nothing", "installed", "as it was"]
"""`installed`: the tool stays, failed or stopped, and can be uninstalled; `as it was`: what is there is unchanged."""

Door = Literal["operation", "tool", "command"]

STANDS_FOR = {
    "text": r'"[^\n]*?"',
    "name": r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?",
    "tool's id": r"[a-z0-9-]+-[a-z2-7]{6}",
    "operation": r"op-[a-z2-7]{26}",
    "instance": r"[a-z2-7]{8}",
    "port": r"[0-9]{1,5}",
    "number": r"[0-9][0-9.]*",
    "digest": r"[0-9a-f:-]{7,71}",
    "folder": r"/[^\s`']+",
    "was killed": r"(?:was ended for want of memory \(exit code 137\)|ended with exit code 137 \(killed\))",
    "if that is why": r"(?: \(resources\.memory\) if that is why; its last lines may say more)?",
    "program's words": r"[^\n]+?",
}


@dataclass(frozen=True)
class Came:
    """What came of it. `status` is the answer's; None where an operation ended, or a tool shows it.

    `lines` are the last lines of what the tool or its build printed, where they came along.
    """

    status: int | None
    code: str
    text: str
    tool: str = ""
    name: str = ""
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Said:
    """As recorded: `status` as in `Came`."""

    status: int | None
    code: str
    cause: str
    way_out: str

    @property
    def sentence(self) -> str:
        return f"{self.cause} {self.way_out}"

    def fits(self, text: str) -> bool:
        parts = re.split(f"<({'|'.join(STANDS_FOR)})>", self.sentence)
        pattern = [re.escape(part) if place % 2 == 0 else STANDS_FOR[part] for place, part in enumerate(parts)]
        return re.fullmatch("".join(pattern), text) is not None


Provoke = Callable[["Bench"], Awaitable[Came | Sequence[Came]]]


@dataclass(frozen=True)
class Case:
    """`did` is what came in, as a phrase. `shows`: in one of the last lines of the tool's own that come along.

    `door`: who says it, where it is no answer over HTTP.
    """

    name: str
    did: str
    provoke: Provoke = field(repr=False)
    leaves: Leaves = "nothing"
    shows: str = ""
    door: Door = "operation"

    @property
    def said(self) -> Said:
        return recorded()[self.name]


@cache
def recorded() -> dict[str, Said]:
    """By the names of the cases. Raises ValueError for a sentence without a way out."""
    found: dict[str, Said] = {}
    entries: dict[str, dict[str, Any]] = json.loads(SAID.read_text())
    for name, entry in entries.items():
        cause, bar, way_out = str(entry["says"]).partition(" | ")
        if not bar:
            raise ValueError(f"{SAID.name}: {name}: no | parts what is wrong from what would be right")
        found[name] = Said(entry.get("status"), entry["code"], cause, way_out)
    return found
