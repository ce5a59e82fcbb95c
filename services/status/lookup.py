"""Finding what was asked for, or saying well that it is not there."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from libs.contracts import missing
from libs.contracts.problems import Problem
from libs.runtime.bus.failures import Unavailable
from libs.runtime.logging import get_logger
from services.status.domain.entries import OperationEntry
from services.status.ports import Tables, TablesAway, ToolRow
from services.status.progress import Progress

log = get_logger(__name__)

PATIENCE = 5.0
SOON = 0.25  # seconds in which most of what is behind has come
RETRY = 0.5

Found = TypeVar("Found")


class Refused(Exception):
    """The answer is a problem; `status` is what HTTP says of it."""

    def __init__(self, status: int, code: str, message: str, detail: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.problem = Problem(code=code, message=message, detail=detail)


@dataclass(frozen=True)
class Lookup:
    """`newest` asks for the last event that the stream holds; raises `Unavailable`, as does whatever may need it.

    Who asks right after a 202, and without its position, finds what he did: nothing is missing before the tables hold
    all that was said until then.
    """

    tables: Tables
    progress: Progress
    newest: Callable[[], Awaitable[int]]

    async def up_to(self, position: int | None) -> None:
        """Returns when the tables may be shown and hold everything up to here.

        Raises `Refused` after `PATIENCE`, and soon for what lies behind the end of the stream: nobody was told it,
        or it was of streams that were lost.
        """
        position = position or 0
        if await self.progress.reached(position, SOON):
            return
        if position > self.progress.last and position > (newest := await self.newest()):
            way_out = "ask without one, or with that of a newer 202"
            raise Refused(400, "position_unknown", f"There is no event {position}, the last is {newest}: {way_out}.")
        if await self.progress.reached(position, PATIENCE):
            return
        behind = max(position, self.progress.last) - self.progress.position
        raise Refused(
            503, "projection_behind", f"The view of what happened is {behind} events behind; ask again in a moment."
        )

    async def tool(self, name_or_id: str) -> ToolRow:
        row = await self.known(lambda: self.tables.tool(name_or_id))
        if row is None:
            raise await self.no_tool(name_or_id)
        return row

    async def known(self, find: Callable[[], Awaitable[Found]]) -> Found:
        """What is found, empty only if there was nothing in all that happened before."""
        found = await find()
        if found:
            return found
        await self.up_to(await self.newest())
        return await find()

    async def no_tool(self, name_or_id: str) -> Refused:
        names = await self.tables.tool_names()
        near = difflib.get_close_matches(name_or_id, names, n=3, cutoff=0.6)
        return Refused(404, "tool_not_found", missing.no_tool(name_or_id, near), {"near": near} if near else None)

    async def gone(self, tool: str) -> None:
        """Returns when there is no tool of this id any more; waits over any outage until that is known."""
        about = asyncio.Event()

        def hear(tools: Iterable[str] | None) -> None:
            if tools is None or tool in tools:
                about.set()

        with self.progress.telling(hear):
            while True:
                about.clear()
                try:
                    await self.up_to(None)
                    if not await self.known(lambda: self.tables.tools_with([tool])):
                        return
                except (Refused, TablesAway, Unavailable) as away:
                    log.info("whoever follows a tool waits for the tables", tool=tool, problem=str(away))
                    await asyncio.sleep(RETRY)
                else:
                    await about.wait()

    async def operation(self, id: str) -> OperationEntry:
        operation = await self.known(lambda: self.tables.operation(id))
        if operation is None:
            raise Refused(404, "operation_not_found", missing.no_operation(id))
        return operation

    async def _in_the_end(self, id: str) -> OperationEntry:
        """Also when the tables are away for a while: a followed log does not break for that."""
        while True:
            try:
                return await self.operation(id)
            except TablesAway as away:
                log.info("whoever follows an operation waits for the tables", operation=id, problem=str(away))
                await asyncio.sleep(RETRY)

    async def ended(self, id: str, within: float | None) -> OperationEntry:
        """The operation when it has ended, or as it is after so many seconds (None: no matter how many)."""
        with self.progress.watching(id) as event:
            try:
                async with asyncio.timeout(within):
                    while True:
                        event.clear()
                        operation = await self.operation(id) if within is not None else await self._in_the_end(id)
                        if operation.ended:
                            return operation
                        await event.wait()
            except TimeoutError:
                return await self.operation(id)
