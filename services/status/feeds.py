"""What a stream tells from now on, read once for all live connections of this process that want it.

A connection keeps no queue: only where it stands. What was read last lies here for all of them, bounded; who stands
before that reads for itself, from the stream, until it has caught up. So a slow one costs no more than what it takes
at once, delays nobody and misses nothing that the stream still holds.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from libs.contracts.streams import EVENTS, LOGS, Stream
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.reader import Discarded, Replaced, asked_of, extent, read
from libs.runtime.cancellation import abandon
from libs.runtime.logging import get_logger
from services.status.domain.topics import EVERYTHING, keys_of_event
from services.status.frames import Entry

log = get_logger(__name__)

READ_AT_ONCE = 128
# Forgotten in steps of this many, since each step moves the rest.
STEP = 64


@dataclass(frozen=True)
class Room:
    """How much lies here, or is taken at once: so many messages, of so many bytes, if one alone is not more."""

    messages: int
    size: int


# Lines are followed by few, who mostly keep up; events by many.
ROOM = {EVENTS.name: Room(4096, 4 * 1024 * 1024), LOGS.name: Room(256, 512 * 1024)}


@dataclass(eq=False, slots=True)
class Tap:
    """One connection at a feed. `first` is the oldest that it wants and has not taken, None where there is none."""

    keys: frozenset[str]
    wake: Callable[[], None]
    first: int | None = None


class Feed:
    """`floor` is the last message that lies here no more, `head` the last one read."""

    def __init__(self, stream: Stream, subjects: Sequence[str], room: Room) -> None:
        self.stream = stream
        self.subjects = subjects
        self.head = self.floor = 0
        self.size = 0
        self._room = room
        self._entries: list[Entry] = []
        self._sequences: list[int] = []
        self._taps: defaultdict[str, set[Tap]] = defaultdict(set)
        self._problem: Exception | None = None

    @property
    def broken(self) -> bool:
        return self._problem is not None

    async def run(self, bus: Bus, after: int, created: datetime) -> None:
        """Until cancelled; what breaks it is raised to all who take from it."""
        try:
            reading = read(bus, self.stream, self.subjects, after, created=created, batch=READ_AT_ONCE)
            async with aclosing(reading) as items:
                async for item in items:
                    if isinstance(item, Discarded):
                        self.skip(item)
                    else:
                        self.put(Entry(item, self._keys(item.subject)))
        except Exception as problem:
            self.fail(problem)

    def fail(self, problem: Exception) -> None:
        self._problem = problem
        for tap in self._everybody():
            tap.wake()

    def begin(self, after: int) -> None:
        self.head = self.floor = after

    def put(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._sequences.append(entry.sequence)
        self.size += entry.size
        self.head = entry.sequence
        if self.size > self._room.size or len(self._entries) > self._room.messages:
            self._forget()
        for key in entry.keys:
            for tap in self._taps.get(key, ()):
                if tap.first is None:
                    tap.first = entry.sequence
                tap.wake()

    def join(self, tap: Tap, place: int) -> None:
        """From behind this place on."""
        tap.first = place + 1 if place < self.head else None
        for key in tap.keys:
            self._taps[key].add(tap)

    def leave(self, tap: Tap) -> None:
        for key in tap.keys:
            self._taps[key].discard(tap)
            if not self._taps[key]:
                del self._taps[key]

    def take(self, tap: Tap, place: int, most: Room) -> tuple[list[Entry], int] | None:
        """What the tap wants after this place, at most so much, and the place then; None if that lies here no more."""
        if self._problem is not None:
            kind = Replaced if isinstance(self._problem, Replaced) else RuntimeError
            raise kind(str(self._problem)) from self._problem
        if tap.first is None:
            return [], max(place, self.head)
        if tap.first <= self.floor:
            return None
        found: list[Entry] = []
        size = 0
        at = bisect_left(self._sequences, max(tap.first, place + 1))
        while at < len(self._entries) and len(found) < most.messages and size < most.size:
            if not tap.keys.isdisjoint(self._entries[at].keys):
                found.append(self._entries[at])
                size += self._entries[at].size
            at += 1
        if at < len(self._entries):
            tap.first = self._sequences[at]
            return found, self._sequences[at] - 1
        tap.first = None
        return found, max(place, self.head)

    def _forget(self) -> None:
        """The oldest; the newest one stays, whatever its size."""
        while len(self._entries) > 1 and (
            self.size > self._room.size or len(self._entries) > self._room.messages - STEP
        ):
            drop = min(STEP, len(self._entries) - 1)
            self.size -= sum(entry.size for entry in self._entries[:drop])
            self.floor = self._sequences[drop - 1]
            del self._entries[:drop], self._sequences[:drop]

    def skip(self, discarded: Discarded) -> None:
        """Nobody can go on from here: each looks for itself at what the stream still holds."""
        self._entries.clear()
        self._sequences.clear()
        self.size = 0
        self.head = self.floor = discarded.first - 1
        for tap in self._everybody():
            tap.first = min(tap.first or discarded.first, discarded.after + 1)
            tap.wake()

    def _everybody(self) -> set[Tap]:
        return {tap for taps in self._taps.values() for tap in taps}

    def _keys(self, subject: str) -> tuple[str, ...]:
        return keys_of_event(subject) if self.stream is EVENTS else (EVERYTHING,)


@dataclass
class _Open:
    feed: Feed
    reading: asyncio.Task[None]
    users: int = 0


@dataclass
class Feeds:
    """Each is read while somebody follows it."""

    bus: Bus
    _open: dict[tuple[str, ...], _Open] = field(default_factory=dict[tuple[str, ...], _Open])
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    @asynccontextmanager
    async def joined(self, stream: Stream, subjects: Sequence[str]) -> AsyncGenerator[Feed]:
        """Of a stream what is under these subjects. Of events everything is read: connections pick out their own."""
        wanted = tuple(stream.subjects) if stream is EVENTS else tuple(sorted(subjects))
        there = await self._opened(stream, wanted)
        try:
            yield there.feed
        finally:
            there.users -= 1
            if there.users == 0:
                await self._close((stream.name, *wanted), there)

    async def _opened(self, stream: Stream, subjects: tuple[str, ...]) -> _Open:
        async with self._opening:
            there = self._open.get((stream.name, *subjects))
            if there is None or there.feed.broken:
                with asked_of(stream):
                    now = await extent(self.bus, stream)
                feed = Feed(stream, subjects, ROOM[stream.name])
                feed.begin(now.last)
                reading = asyncio.create_task(feed.run(self.bus, now.last, now.created))
                there = self._open[stream.name, *subjects] = _Open(feed, reading)
            there.users += 1
            return there

    async def _close(self, key: tuple[str, ...], there: _Open) -> None:
        if self._open.get(key) is there:
            del self._open[key]
        await abandon(there.reading)
