"""Reads the records as they grow: what they say, how many operations have ended, and whether there is room for more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from libs.contracts.envelope import Message, decode
from libs.contracts.operations import OperationAccepted, OperationEnded, OperationFailed, OperationStarted, Recorded
from libs.contracts.streams import EVENTS
from libs.contracts.subjects import RECORD
from libs.contracts.tools import ToolCommand
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from tests.chaos.harness.history import Said, Stored
from tests.chaos.harness.stage import SEEN

EVERY = 0.1
AHEAD = 2  # faults


class Watcher:
    """`most` operations may be under way at once; clients wait for room. `now` gives the time of a fact.

    `each` is how many orders go with one fault, so that there is something to be disturbed from the first to the last.
    """

    def __init__(self, bus: Bus, most: int, each: float, now: Callable[[], float], add: Callable[[Said], None]) -> None:
        self._bus = bus
        self._most = most
        self._each = each
        self._faults = 0
        self._now = now
        self._add = add
        self._changed = asyncio.Condition()
        self._sequence = 0
        self._open: set[str] = set()
        self._closed: set[str] = set()
        self.finished = False
        self.enough = False

    @property
    def ended(self) -> int:
        return len(self._closed)

    @property
    def under_way(self) -> set[str]:
        return set(self._open)

    @property
    def sequence(self) -> int:
        """Of the last event of any record that was read."""
        return self._sequence

    def accepted(self, operation: str) -> None:
        if operation not in self._closed:
            self._open.add(operation)

    async def fault_over(self) -> None:
        self._faults += 1
        async with self._changed:
            self._changed.notify_all()

    async def room(self, order: int, patience: float) -> bool:
        """As soon as there is some for this order; False when nothing went on for `patience` seconds, or it is enough.

        While the faults are behind, orders come one by one: as soon as nothing is under way.
        """
        while not self.enough and (
            len(self._open) >= self._most or (self._open and order > (self._faults + AHEAD) * self._each)
        ):
            try:
                async with asyncio.timeout(patience), self._changed:
                    await self._changed.wait()
            except TimeoutError:
                return False
        return not self.enough

    async def reached(self, ended: int) -> None:
        """Returns when that many operations have ended, or when no more are asked for."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.finished or len(self._closed) >= ended)

    async def stop(self) -> None:
        """No more commands and no more faults: what there was is judged."""
        self.enough = True
        await self.finish()

    async def finish(self) -> None:
        self.finished = True
        async with self._changed:
            self._changed.notify_all()

    @asynccontextmanager
    async def watching(self) -> AsyncGenerator[None]:
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            try:
                if await self.read():
                    async with self._changed:
                        self._changed.notify_all()
            except Unavailable:
                continue
            await asyncio.sleep(EVERY)

    async def read(self) -> bool:
        """All that is new; whether there was anything."""
        before = self._sequence
        while (kept := await self._bus.next(EVENTS, RECORD.filter(), self._sequence + 1)) is not None:
            self._sequence = kept.sequence
            event = kept.open().data
            assert isinstance(event, Recorded), event
            self._take(event, kept.sequence)
        return self._sequence > before

    def _take(self, event: Recorded, sequence: int) -> None:
        self._add(_said(event, sequence, self._now()))
        if isinstance(event, OperationEnded):
            self._closed.add(event.operation)
            self._open.discard(event.operation)
        else:
            self.accepted(event.operation)


def _said(event: Recorded, sequence: int, at: float) -> Said:
    what = event.type.split(".")[-2]
    about = {"sequence": sequence, "at": round(at, 3), "operation": event.operation, "tool": event.tool, "what": what}
    match event:
        case OperationAccepted():
            return Said(**about, kind=event.kind)
        case OperationEnded():
            tool = event.state
            return Said(
                **about,
                fence=event.fence,
                effect=event.effect,
                state=tool.state.value if tool else None,
                wants=tool is not None and tool.desired == "running",
                code=event.error.code if isinstance(event, OperationFailed) else None,
                why=event.error.message if isinstance(event, OperationFailed) else "",
            )
        case OperationStarted():
            return Said(**about, by=event.worker)
        case _:
            return Said(**about)


async def commands(bus: Bus) -> list[Stored]:
    """All that COMMANDS took, in its order."""
    found: list[Stored] = []
    async for kept in bus.each(SEEN, "harness.>"):
        message: Message = decode(kept.data, kept.subject.removeprefix("harness.")).data
        assert isinstance(message, ToolCommand), message
        found.append(Stored(kept.sequence, message.operation, message.tool, message.action))
    return found
