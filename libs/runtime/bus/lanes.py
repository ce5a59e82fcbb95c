"""One tool, one operation at a time, in order: whoever is not at the head of the lane holds.

The stream itself is the lane: the first command still stored under a tool's subjects is the one whose
turn it is, over any number of replicas and over every service that takes commands. Of those that one process holds of
a tool only the first looks there: a hundred that wait cost no more than one.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from operator import itemgetter

from libs.contracts.envelope import Undecodable
from libs.contracts.streams import COMMANDS
from libs.contracts.subjects import lane
from libs.contracts.tools import ToolCommand
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.decide import Turn, turn
from libs.runtime.bus.delivery import Delivery
from libs.runtime.bus.failures import Conflict
from libs.runtime.bus.operation import Interrupted
from libs.runtime.bus.records import Record, Records, accepted
from libs.runtime.bus.signals import Signals, woken
from libs.runtime.bus.stored import Kept
from libs.runtime.bus.timing import Timing

# Polls after which somebody further behind looks whether he was cancelled, should nothing have been heard of it.
UNHEARD = 5.0


class Lanes:
    def __init__(self, bus: Bus, records: Records, signals: Signals, timing: Timing) -> None:
        self._bus = bus
        self._records = records
        self._signals = signals
        self._timing = timing
        self._held: defaultdict[str, list[tuple[int, asyncio.Event]]] = defaultdict(list)

    async def turn(self, command: ToolCommand, delivery: Delivery) -> tuple[Turn, Record]:
        """Returns when the command is at the head, was done elsewhere, or was cancelled while it held.

        The record is as it was read last; a held command whose record says cancel has turn `HOLD`. Raises
        `Interrupted` when it was held through a silence: it may be another's by now.
        """
        with self._signals.of(command.operation) as event, self._behind(command.tool, delivery.sequence, event) as line:
            while line[0][0] != delivery.sequence:
                event.clear()
                record = await self._held_record(command, delivery)
                if record.cancel is not None or record.ended is not None:
                    return Turn.HOLD, record
                if line[0][0] != delivery.sequence:
                    await woken(event, UNHEARD * self._timing.poll)
            return await self._at_the_front(command, delivery)

    @contextmanager
    def _behind(self, tool: str, sequence: int, event: asyncio.Event) -> Generator[list[tuple[int, asyncio.Event]]]:
        """The tool's commands that are held here, in their order, this one among them; who becomes first is woken."""
        line, mine = self._held[tool], (sequence, event)
        insort(line, mine, key=itemgetter(0))
        try:
            yield line
        finally:
            line.remove(mine)
            if line:
                line[0][1].set()
            elif self._held.get(tool) is line:
                del self._held[tool]

    async def _held_record(self, command: ToolCommand, delivery: Delivery) -> Record:
        if delivery.lapsed():
            raise Interrupted(command.operation)
        return await self._records.read(command.tool, command.operation)

    async def _at_the_front(self, command: ToolCommand, delivery: Delivery) -> tuple[Turn, Record]:
        with self._signals.of(command.tool) as event:
            pause = 0.002
            while True:
                event.clear()
                if delivery.lapsed():
                    raise Interrupted(command.operation)
                head = await self._bus.next(COMMANDS, lane(command.tool), 1)
                whose = turn(head.sequence if head else None, delivery.sequence)
                if whose is not Turn.HOLD:
                    return whose, Record()
                record = await self._records.read(command.tool, command.operation)
                if record.cancel is not None or record.ended is not None:
                    return whose, record
                await woken(event, pause)
                pause = min(pause * 2, self._timing.poll) if not event.is_set() else 0.002

    async def overtake(self, command: ToolCommand, sequence: int) -> None:
        """Asks for an end of all that comes before this command in its lane."""
        async for waiting in self._bus.each(COMMANDS, lane(command.tool)):
            if waiting.sequence >= sequence:
                return
            if (other := readable(waiting)) is not None:
                await self._accept(other)
                await self._records.request_cancel(other.tool, other.operation, command.requested_by)

    async def _accept(self, command: ToolCommand) -> None:
        """A cancel request needs a record to stand in, also when the gateway has not written its first event yet."""
        record = await self._records.read(command.tool, command.operation)
        if record.entries:
            return
        try:
            await self._records.append(record, accepted(command))
        except Conflict:
            await asyncio.sleep(0)


def readable(kept: Kept) -> ToolCommand | None:
    """The command, unless nobody can read it: then whoever it is handed to takes it off the lane."""
    try:
        message = kept.open().data
    except Undecodable:
        return None
    return message if isinstance(message, ToolCommand) else None
