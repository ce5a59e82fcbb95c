"""What the status service needs of its tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from libs.contracts.operations import OperationState
from libs.contracts.tools import ToolRecorded
from libs.runtime.bus.projection import ProjectedAway
from libs.runtime.bus.reader import Extent
from libs.runtime.bus.stored import Kept
from services.status.domain.entries import EngineEntry, OperationEntry, RebuildEntry, ToolEntry


@dataclass(frozen=True)
class Wanted:
    """Which operations: of one tool (its name or id), in one state, older than a sequence; None: any."""

    tool: str | None = None
    state: OperationState | None = None
    before: int | None = None


@dataclass(frozen=True)
class ToolRow:
    """All that a view of a tool is made of. `under_way` are its operations that have not ended, oldest first."""

    entry: ToolEntry
    engine: EngineEntry | None
    under_way: tuple[OperationEntry, ...]


@dataclass(frozen=True)
class About:
    """What some events were about: ids of tools and operations, names of engines."""

    tools: frozenset[str]
    operations: frozenset[str]
    engines: frozenset[str]


class TablesAway(ProjectedAway):
    """They can be neither read nor changed now; the text says why, and holds no secret."""


class Tables(Protocol):
    """Reads see whole batches only, and never older ones than before. All of it runs beside the event loop.

    Other processes may fill the same tables. Each method may raise `TablesAway`; nothing has changed then, or all.
    """

    async def stands_at(self, epoch: str) -> int | None:
        """Up to which sequence they are filled; None if not from this epoch."""
        ...

    async def empty(self, epoch: str, position: int, known: Sequence[ToolRecorded]) -> None: ...

    async def take_in(self, messages: Sequence[Kept]) -> About:
        """Folds and stores them with their position, all or nothing; returns what they were about.

        What another process has stored already is left out.
        """
        ...

    async def forget(self, before: int, most: int) -> int:
        """Drops operations that have ended and were accepted before this event; how many, at most so many."""
        ...

    async def tool(self, name_or_id: str) -> ToolRow | None:
        """The present one of this name, or the one of this id, also while it is being installed."""
        ...

    async def tools(self, after: tuple[str, str], limit: int) -> list[ToolRow]:
        """By name and id, from behind the one given."""
        ...

    async def tools_with(self, ids: Sequence[str]) -> list[ToolRow]:
        """Those of these that are there now, in no order."""
        ...

    async def tool_names(self) -> list[str]:
        """Of those that are there now."""
        ...

    async def operation(self, id: str) -> OperationEntry | None: ...

    async def operations(self, wanted: Wanted, limit: int) -> list[OperationEntry]:
        """Newest first."""
        ...


class Overtaken(Exception):
    """The rebuild is another worker's now, or over."""


@dataclass(frozen=True)
class Rebuild:
    """The last one, who carries it out, and a number that goes up while he does."""

    entry: RebuildEntry
    worker: str
    beat: int


class Rebuilds(Protocol):
    """The one row that all who share the tables agree in. Each method may raise `TablesAway`."""

    async def last(self) -> Rebuild | None: ...

    async def begin(self, entry: RebuildEntry, worker: str) -> RebuildEntry:
        """The one that runs; where none does, this one, stored and this worker's."""
        ...

    async def take_over(self, found: Rebuild, worker: str) -> bool:
        """Whether it is this worker's now; not so if its row has changed since it was found."""
        ...

    async def fail(self, worker: str, reason: str) -> None:
        """It is over, unless it is another's."""
        ...


class SecondTables(Protocol):
    """Tables beside those that are shown, filled by one worker. Each method may raise `TablesAway` or `Overtaken`."""

    async def stands_at(self, epoch: str) -> int | None: ...

    async def begin_at(self, there: Extent, known: Sequence[Kept]) -> None: ...

    async def take_in(self, messages: Sequence[Kept]) -> None: ...

    async def change_over(self, between: Callable[[int, int], Sequence[Kept]]) -> RebuildEntry | None:
        """All at once, what is shown is what stood here, and here is nothing; None while that is too far behind.

        `between` gives, in a thread, the messages behind one sequence and up to another.
        """
        ...
