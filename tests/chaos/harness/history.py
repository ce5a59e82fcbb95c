"""What happened in one run, as facts that can be written down and judged later: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

# Times are seconds since the run began, on one clock; sequences are those of the EVENTS stream unless said otherwise.


@dataclass(frozen=True)
class Asked:
    """A client got an answer for good: `operation` where it was a 202, else the `refusal` (code of the problem).

    `before` and `after` number the client's own sending and hearing: what was heard before something was sent comes
    before it.
    """

    order: int
    client: int
    kind: str
    name: str
    key: str
    sent: int
    heard: int
    operation: str | None = None
    tool: str | None = None
    data: bool = False
    refusal: str | None = None


@dataclass(frozen=True)
class Stored:
    """A command as COMMANDS took it, at that sequence of COMMANDS."""

    sequence: int
    operation: str
    tool: str
    kind: str


@dataclass(frozen=True)
class Said:
    """An event of a record. `what` is accepted, started, cancel-requested, succeeded, failed or cancelled.

    Of a start: `by` which worker. Of an end: the `fence` it answers, `effect`, the new `state` of the tool, whether it
    `wants` to run, the `code` of its failure and `why` in words.
    """

    sequence: int
    at: float
    operation: str
    tool: str
    what: str
    kind: str = ""
    fence: int = 0
    effect: str = ""
    state: str | None = None
    wants: bool = False
    code: str | None = None
    by: str = ""
    why: str = ""


@dataclass(frozen=True)
class Fault:
    """One fault; `tool` where it was done to one tool's container by hand."""

    kind: str
    target: str
    began: float
    ended: float
    tool: str | None = None


@dataclass(frozen=True)
class Kept:
    """The last state of a tool in STATE; `state` None: it is gone. `fence` is the sequence of the end it is from.

    `services` is how many containers it is.
    """

    tool: str
    fence: int
    state: str | None
    wants: bool = False
    services: int = 1


@dataclass(frozen=True)
class Found:
    """Something of a tool on the engine. `running` is of a container."""

    what: Literal["container", "network", "volume"]
    name: str
    tool: str
    running: bool = False


@dataclass(frozen=True)
class Shown:
    """What one replica of status shows of a tool."""

    replica: str
    tool: str
    state: str
    wants: bool


@dataclass(frozen=True)
class ShownOperation:
    """What one replica of status shows of an operation."""

    replica: str
    operation: str
    state: str


@dataclass(frozen=True)
class Left:
    """Something that should be gone once all is quiet: a message in a queue, a process, a folder of a fetch."""

    what: Literal["command", "task", "process", "fetch"]
    name: str


@dataclass(frozen=True)
class Complaint:
    """Something that a service said broke in a way that nobody provided for."""

    process: str
    text: str


Fact = Asked | Stored | Said | Fault | Kept | Found | Shown | ShownOperation | Left | Complaint
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Asked, Stored, Said, Fault, Kept, Found, Shown, ShownOperation, Left, Complaint)
}


@dataclass
class History:
    asked: list[Asked] = field(default_factory=list[Asked])
    stored: list[Stored] = field(default_factory=list[Stored])
    said: list[Said] = field(default_factory=list[Said])
    fault: list[Fault] = field(default_factory=list[Fault])
    kept: list[Kept] = field(default_factory=list[Kept])
    found: list[Found] = field(default_factory=list[Found])
    shown: list[Shown] = field(default_factory=list[Shown])
    shownoperation: list[ShownOperation] = field(default_factory=list[ShownOperation])
    left: list[Left] = field(default_factory=list[Left])
    complaint: list[Complaint] = field(default_factory=list[Complaint])

    def add(self, *facts: Fact) -> None:
        for fact in facts:
            getattr(self, type(fact).__name__.lower()).append(fact)

    def facts(self) -> Iterator[Fact]:
        for each in fields(self):
            yield from getattr(self, each.name)


def written(history: History) -> Iterator[str]:
    """Line by line."""
    for fact in history.facts():
        yield json.dumps({"what_it_is": type(fact).__name__, **asdict(fact)})


def read(lines: Iterable[str]) -> History:
    history = History()
    for line in lines:
        values: dict[str, Any] = json.loads(line)
        history.add(_KINDS[values.pop("what_it_is")](**values))
    return history
