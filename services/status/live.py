"""One live connection: what it is told of events, lines and states, as frames.

A frame's cursor says where all of them stand when it is sent, so that whoever hands it back, here or to another
replica, is given what comes after, and nothing twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from libs.contracts.live import Gap
from libs.contracts.names import derived_word
from libs.contracts.streams import EVENTS, LOGS, Stream
from libs.contracts.subjects import LOG
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.reader import Discarded, Extent, asked_of, extent
from libs.runtime.logging import get_logger
from services.status import frames
from services.status.board import Board, Watch
from services.status.domain.cursors import Place
from services.status.domain.topics import EVERYTHING, Followed
from services.status.feeds import Feeds, Room
from services.status.frames import Encoder, Entry
from services.status.sources import Part, Past, Source, source

log = get_logger(__name__)

# So much of one kind is sent before the others have their turn. It is what a connection holds.
AT_ONCE = Room(64, 128 * 1024)
TOGETHER = Room(512, 512 * 1024)
# An operation's end is held back for the lines that came before it; not for ever, should they be lost.
LINES_FIRST = 5.0

Send = Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class Manner:
    """Seconds: the least time between two times that something is sent, and the silence after which a frame says so."""

    pace: float = 0.0
    heartbeat: float | None = None


@dataclass(frozen=True)
class Start:
    """Where each part begins; `gaps` are said first."""

    place: Place
    events: Part | None
    lines: Part | None
    gaps: Sequence[Gap]


@dataclass(frozen=True)
class Shared:
    """What all live connections of a process stand on."""

    bus: Bus
    feeds: Feeds
    board: Board
    encoder: Encoder


async def start(bus: Bus, followed: Followed, begun: int, place: Place | None) -> Start:
    """`begun` is the sequence at which the oldest of the followed operations was accepted, 0 without one.

    Raises `Unavailable`.
    """
    with asked_of(EVENTS):
        events = await extent(bus, EVENTS)
    with asked_of(LOGS):
        lines = await extent(bus, LOGS)
    epoch = derived_word(8, events.created.isoformat(), lines.created.isoformat())
    going_on = place is not None and _still_there(place, epoch, events, lines)
    gaps: list[Gap] = []
    if place is not None and not going_on:
        reason = "the streams were made anew, or lost their end; what was said before is not kept"
        gaps = [Gap(stream=stream, reason=reason) for stream in ("events", "logs")]
    known = place if place is not None and going_on else Place(epoch, None, None)
    of_events = _part(EVENTS, followed.events, followed.event_keys, events, known.events)
    of_lines = _part(LOGS, followed.lines, frozenset((EVERYTHING,)), lines, known.lines)
    if of_events is not None and known.events is None:
        of_events = _with_past(of_events, followed.operation_events, begun - 1)
    if of_lines is not None and known.lines is None:
        of_lines = _with_past(of_lines, followed.operation_lines, 0)
    here = Place(
        epoch,
        _beginning(of_events),
        _beginning(of_lines),
        known.next_line if of_lines is not None else {},
        known.states if followed.states or followed.state else None,
    )
    return Start(here, of_events, of_lines, gaps)


def _still_there(place: Place, epoch: str, events: Extent, lines: Extent) -> bool:
    return place.epoch == epoch and (place.events or 0) <= events.last and (place.lines or 0) <= lines.last


def _part(
    stream: Stream, subjects: Sequence[str], keys: frozenset[str], there: Extent, after: int | None
) -> Part | None:
    return Part(stream, subjects, keys, there.last if after is None else after, there) if subjects else None


def _with_past(part: Part, whole: Sequence[str], before: int) -> Part:
    """Operations are told from their beginning, everything else from now on."""
    if not whole:
        return part
    if set(whole) == set(part.subjects):
        return replace(part, after=before)
    return replace(part, past=Past(whole, before))


def _beginning(part: Part | None) -> int | None:
    if part is None:
        return None
    return part.after if part.past is None else part.past.after


class LiveSession:
    """The frames of one connection."""

    def __init__(self, shared: Shared, followed: Followed, start: Start, manner: Manner) -> None:
        self._shared = shared
        self._followed = followed
        self._start = start
        self._manner = manner
        self._place = start.place
        self._woken = asyncio.Event()
        self._unreadable: set[str] = set()
        self._events: Source | None = None
        self._lines: Source | None = None
        self._watch: Watch | None = None

    async def run(self, send: Send) -> None:
        """Until cancelled. Raises `Replaced` when the streams are not the same any more, and `Unavailable`."""
        for gap in self._start.gaps:
            await send(frames.gap(self._place.cursor(), gap))
        async with self._joined():
            while True:
                self._woken.clear()
                told = [await tell(send) for tell in (self._tell_states, self._tell_events, self._tell_lines)]
                if not any(told):
                    await self._quiet(send)
                elif self._manner.pace:
                    await self._next_turn()
                else:
                    await asyncio.sleep(0)

    @asynccontextmanager
    async def _joined(self) -> AsyncGenerator[None]:
        shared, wake = self._shared, self._woken.set
        async with AsyncExitStack() as stack:
            if self._start.events is not None:
                self._events = await stack.enter_async_context(
                    source(shared.bus, shared.feeds, self._start.events, wake)
                )
            if self._start.lines is not None:
                self._lines = await stack.enter_async_context(source(shared.bus, shared.feeds, self._start.lines, wake))
            if self._followed.states or self._followed.state:
                wanted = None if self._followed.states else self._followed.state
                self._watch = stack.enter_context(shared.board.watched(wanted, wake))
            yield

    async def _quiet(self, send: Send) -> None:
        """Until there may be something to tell."""
        try:
            async with asyncio.timeout(self._manner.heartbeat):
                await self._woken.wait()
        except TimeoutError:
            self._place = self._here()
            await send(frames.heartbeat(self._place.cursor()))

    async def _next_turn(self) -> None:
        """All who keep the same pace take their turns together: so they are sent the same, made once."""
        pace = self._manner.pace
        await asyncio.sleep(pace - asyncio.get_running_loop().time() % pace)

    def _here(self) -> Place:
        """Also what was passed over because it was not wanted needs not be looked at again."""
        events = self._place.events if self._events is None else self._events.place
        lines = self._place.lines if self._lines is None else self._lines.place
        return replace(self._place, events=events, lines=lines)

    async def _tell_states(self, send: Send) -> bool:
        if self._watch is None:
            return False
        told = False
        for position, body in await self._watch.news(self._place.states):
            self._place = replace(self._place, states=position)
            await send(self._shared.encoder.states(self._place.cursor(), body))
            told = True
        return told

    async def _tell_events(self, send: Send) -> bool:
        if self._events is None:
            return False
        items = await self._events.some(TOGETHER if self._manner.pace else AT_ONCE)
        together: list[Entry] = []
        for item in items:
            if isinstance(item, Discarded):
                reason = f"events {item.after + 1} to {item.first - 1} are no longer kept"
                await send(frames.gap(self._place.cursor(), Gap(stream="events", reason=reason)))
                continue
            await self._lines_before(item, send)
            if self._manner.pace:
                together.append(item)
                continue
            self._place = self._place.after_event(item.sequence)
            await self._send(send, self._shared.encoder.event(self._place.cursor(), item))
        if together:
            self._place = self._place.after_event(together[-1].sequence)
            await self._send(send, self._shared.encoder.events(self._place.cursor(), together))
        return bool(items)

    async def _send(self, send: Send, frame: str | None) -> None:
        if frame is not None:
            await send(frame)

    async def _tell_lines(self, send: Send) -> bool:
        """What is missing here shows in the lines' own numbers."""
        if self._lines is None:
            return False
        items = await self._lines.some(AT_ONCE)
        for item in items:
            if isinstance(item, Entry):
                await self._tell_chunk(item, send)
        return bool(items)

    async def _tell_chunk(self, entry: Entry, send: Send) -> None:
        if not LOG.takes(entry.kept.subject):
            return
        about = LOG.parse(entry.kept.subject)
        if not self._followed.wants(about["tool"], about["source"]):
            return
        printed = entry.printed
        if printed is None:
            self._unreadable.add(entry.kept.subject)
            return
        gap = self._place.before(
            printed,
            from_the_start=printed.source in self._followed.operations,
            unreadable=entry.kept.subject in self._unreadable,
        )
        self._unreadable.discard(entry.kept.subject)
        if gap is not None:
            await send(frames.gap(self._place.cursor(), gap))
        self._place = self._place.after_lines(entry.sequence, printed)
        await send(frames.lines(self._place.cursor(), printed))

    async def _lines_before(self, entry: Entry, send: Send) -> None:
        """Who hears of an operation's end has all that it printed."""
        if self._lines is None or not self._followed.operations:
            return
        operation = entry.ends
        if operation is None or operation not in self._followed.operations:
            return
        subject = LOG.build({"tool": self._followed.operations[operation], "source": operation})
        last = await self._shared.bus.last(LOGS, subject)
        clock = asyncio.get_running_loop()
        give_up = clock.time() + LINES_FIRST
        while last is not None and self._lines.place < last.sequence:
            self._woken.clear()
            if await self._tell_lines(send):
                give_up = clock.time() + LINES_FIRST
                continue
            try:
                async with asyncio.timeout_at(give_up):
                    await self._woken.wait()
            except TimeoutError:
                log.warning("the last lines of an operation did not come", operation=operation)
                return
