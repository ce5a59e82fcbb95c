"""The feed of events, the tables, and those who wait for either, brought together."""

from __future__ import annotations

from collections.abc import Sequence

from libs.contracts.envelope import Undecodable
from libs.contracts.tools import ToolRecorded
from libs.runtime.bus.stored import Kept
from libs.runtime.logging import get_logger
from services.status.ports import Tables
from services.status.progress import Progress

log = get_logger(__name__)


class Projector:
    """What `libs.runtime.bus.projection` feeds. `name` is this process's own."""

    def __init__(self, tables: Tables, progress: Progress, name: str) -> None:
        self.name = name
        self._tables = tables
        self._progress = progress

    async def stands_at(self, epoch: str) -> int | None:
        position = await self._tables.stands_at(epoch)
        if position is not None:
            self._progress.begun_at(position)
        return position

    async def empty(self, epoch: str, position: int, known: Sequence[Kept]) -> None:
        await self._tables.empty(epoch, position, [recorded for kept in known if (recorded := _recorded(kept))])
        self._progress.begun_at(position)

    async def take_in(self, messages: Sequence[Kept]) -> None:
        about = await self._tables.take_in(messages)
        self._progress.came_to(messages[-1].sequence, about.operations, None if about.engines else about.tools)

    def heard_of(self, last: int) -> None:
        self._progress.heard_of(last)


def _recorded(kept: Kept) -> ToolRecorded | None:
    try:
        message = kept.open().data
    except Undecodable as problem:
        log.error("a tool's state cannot be read and is passed over", sequence=kept.sequence, problem=str(problem))
        return None
    return message if isinstance(message, ToolRecorded) else None
