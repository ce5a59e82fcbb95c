"""One live connection: two readers, one for events and one for lines, and what they bring as frames.

Each connection reads at its own pace, with a few frames on their way at most. A frame's cursor says where
both readers stand when it is sent, so that whoever hands it back is given what comes after, and nothing twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from libs.contracts.envelope import Undecodable
from libs.contracts.live import Gap, GapFrame, LogFrame, LogLines
from libs.contracts.names import derived_word
from libs.contracts.operations import OperationEnded
from libs.contracts.streams import EVENTS, LOGS, Stream
from libs.contracts.subjects import LOG, RECORD, BadSubject
from libs.runtime import metrics
from libs.runtime.bus.connection import Bus, Kept
from libs.runtime.bus.reader import Discarded, Extent, extent, read, read_until_now
from libs.runtime.logging import get_logger
from services.status.domain.cursors import Place
from services.status.domain.topics import Followed
from services.status.lines import chunk_of

log = get_logger(__name__)

_EVENTS, _LINES, _GAPS = (metrics.live_frames.labels(kind) for kind in ("event", "log", "gap"))
_MISSED = metrics.log_lines_missed.labels("live")

ON_THEIR_WAY = 8
# An operation's end is held back for the lines that came before it; not for ever, should they be lost.
LINES_FIRST = 5.0


@dataclass(frozen=True)
class Stretch:
    """What to read after a sequence; `until`: no further than this, and then the next stretch."""

    subjects: Sequence[str]
    after: int
    until: int | None = None


@dataclass(frozen=True)
class Start:
    """Where each reader begins; `gaps` are said first."""

    place: Place
    events: Sequence[Stretch]
    lines: Sequence[Stretch]
    gaps: Sequence[Gap]
    streams: tuple[Extent, Extent]


async def start(bus: Bus, followed: Followed, begun: int, place: Place | None) -> Start:
    """`begun` is the sequence at which the oldest of the followed operations was accepted, 0 without one."""
    streams = await extent(bus, EVENTS), await extent(bus, LOGS)
    events, lines = streams
    epoch = derived_word(8, events.created.isoformat(), lines.created.isoformat())
    if place is not None and (place.epoch, place.events <= events.last, place.lines <= lines.last) == (
        epoch,
        True,
        True,
    ):
        going_on = [Stretch(followed.events, place.events)], [Stretch(followed.lines, place.lines)]
        return Start(place, *going_on, (), streams)
    reason = "the streams were made anew, or lost their end; what was said before is not kept"
    lost = [Gap(stream=stream, reason=reason) for stream in ("events", "logs")] if place is not None else []
    event_stretches = _from_now_on(followed.operation_events, followed.events, begun - 1, events.last)
    line_stretches = _from_now_on(followed.operation_lines, followed.lines, 0, lines.last)
    here = Place(epoch, event_stretches[0].after, line_stretches[0].after)
    return Start(here, event_stretches, line_stretches, lost, streams)


def _from_now_on(whole: Sequence[str], all_of_it: Sequence[str], before: int, now: int) -> list[Stretch]:
    """Operations are told from their beginning, everything else from now on."""
    if not whole:
        return [Stretch(all_of_it, now)]
    if set(whole) == set(all_of_it):
        return [Stretch(all_of_it, before)]
    return [Stretch(whole, before, now), Stretch(all_of_it, now)]


class LiveSession:
    """The frames of one connection."""

    def __init__(self, bus: Bus, followed: Followed, start: Start) -> None:
        self._bus = bus
        self._followed = followed
        self._start = start
        self._place = start.place
        self._lines_read = start.place.lines
        self._lines_moved = asyncio.Event()
        self._arrived: asyncio.Queue[Kept | Gap | Exception] = asyncio.Queue(ON_THEIR_WAY)

    async def run(self, send: Callable[[str], Awaitable[None]]) -> None:
        """Until cancelled. Raises `Replaced` when the streams are not the same any more."""
        for gap in self._start.gaps:
            await send(self._gap(gap))
        async with self._reading():
            while True:
                match await self._arrived.get():
                    case Exception() as problem:
                        raise problem
                    case Gap() as gap:
                        await send(self._gap(gap))
                    case Kept() as kept:
                        for frame in self._frames(kept):
                            await send(frame)

    @asynccontextmanager
    async def _reading(self) -> AsyncGenerator[None]:
        readers = [
            asyncio.create_task(self._told(reader()))
            for subjects, reader in ((self._followed.events, self._events), (self._followed.lines, self._lines))
            if subjects
        ]
        try:
            yield
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def _told(self, reading: Awaitable[None]) -> None:
        """What breaks a reader breaks the connection."""
        try:
            await reading
        except Exception as problem:
            await self._arrived.put(problem)

    async def _events(self) -> None:
        for stretch in self._start.events:
            async with aclosing(_stretch(self._bus, EVENTS, stretch, self._start.streams[0])) as items:
                async for item in items:
                    if isinstance(item, Discarded):
                        reason = f"events {item.after + 1} to {item.first - 1} are no longer kept"
                        await self._arrived.put(Gap(stream="events", reason=reason))
                        continue
                    await self._lines_before(item)
                    await self._arrived.put(item)

    async def _lines(self) -> None:
        """What is missing here shows in the lines' own numbers."""
        for stretch in self._start.lines:
            async with aclosing(_stretch(self._bus, LOGS, stretch, self._start.streams[1])) as items:
                async for item in items:
                    if isinstance(item, Kept):
                        await self._arrived.put(item)
                        self._lines_read = item.sequence
                        self._lines_moved.set()

    async def _lines_before(self, kept: Kept) -> None:
        """Who hears of an operation's end has all that it printed."""
        operation = _ended_operation(kept)
        if operation is None or operation not in self._followed.operations:
            return
        subject = LOG.build({"tool": self._followed.operations[operation], "source": operation})
        last = await self._bus.last(LOGS, subject)
        try:
            async with asyncio.timeout(LINES_FIRST):
                while last is not None and self._lines_read < last.sequence:
                    self._lines_moved.clear()
                    await self._lines_moved.wait()
        except TimeoutError:
            log.warning("the last lines of an operation did not come", operation=operation)

    def _frames(self, kept: Kept) -> list[str]:
        if not kept.subject.startswith("machete.log."):
            self._place = self._place.after_event(kept.sequence)
            return self._event(kept)
        chunk = chunk_of(kept)
        if chunk is None or not self._followed.wants(chunk.tool, chunk.source):
            return []
        gap = self._place.before(chunk, from_the_start=chunk.source in self._followed.operations)
        lost = [self._gap(gap)] if gap is not None else []
        self._place = self._place.after_lines(kept.sequence, chunk)
        lines = tuple(line.model_dump(mode="json") for line in chunk.lines)
        said = LogLines(tool=chunk.tool, source=chunk.source, first=chunk.first, lines=lines)
        _LINES.inc()
        return [*lost, LogFrame(cursor=self._place.cursor(), log=said).model_dump_json()]

    def _event(self, kept: Kept) -> list[str]:
        """The event as it stands on the bus, byte for byte."""
        try:
            json.loads(kept.data)
        except ValueError as problem:
            log.error("an event cannot be read and is passed over", sequence=kept.sequence, problem=str(problem))
            return []
        _EVENTS.inc()
        return [f'{{"cursor":"{self._place.cursor()}","event":{kept.data.decode()}}}']

    def _gap(self, gap: Gap) -> str:
        _GAPS.inc()
        _MISSED.inc(gap.missed or 0)
        return GapFrame(cursor=self._place.cursor(), gap=gap).model_dump_json(exclude_none=True)


async def _stretch(bus: Bus, stream: Stream, stretch: Stretch, there: Extent) -> AsyncGenerator[Kept | Discarded]:
    if stretch.until is None:
        async with aclosing(read(bus, stream, stretch.subjects, stretch.after, created=there.created)) as items:
            async for item in items:
                yield item
        return
    async with aclosing(read_until_now(bus, stream, stretch.subjects, stretch.after)) as kept_ones:
        async for kept in kept_ones:
            if kept.sequence > stretch.until:
                return
            yield kept


def _ended_operation(kept: Kept) -> str | None:
    try:
        operation = RECORD.parse(kept.subject)["operation"]
        return operation if isinstance(kept.open().data, OperationEnded) else None
    except (BadSubject, Undecodable):
        return None
