"""What one live connection is told of one stream: from a feed that it shares, or from the stream where it is behind."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from libs.contracts.streams import EVENTS, LOGS, Stream
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.reader import Discarded, Extent, Replaced, asked_of, extent, read_until_now
from services.status import history
from services.status.feeds import Feed, Feeds, Room, Tap
from services.status.frames import Entry

# Messages that are on their way to one connection alone: chunks of lines are up to 64 KB, events rarely one.
READ_AT_ONCE = {EVENTS.name: 32, LOGS.name: history.READ_AT_ONCE}


@dataclass(frozen=True)
class Past:
    """What is told before anything else: under these subjects after a sequence, up to the beginning of the rest."""

    subjects: Sequence[str]
    after: int


@dataclass(frozen=True)
class Part:
    """Of a stream: what is under these subjects, as messages with these keys, after a sequence."""

    stream: Stream
    subjects: Sequence[str]
    keys: frozenset[str]
    after: int
    there: Extent
    past: Past | None = None


class Source:
    """`place` is the last message that was given out or needs not be."""

    def __init__(self, bus: Bus, part: Part, feed: Feed, tap: Tap) -> None:
        self.place = part.after if part.past is None else part.past.after
        self._bus = bus
        self._part = part
        self._feed = feed
        self._tap = tap
        self._apart = self._before() if part.past is not None else None

    async def some(self, most: Room) -> list[Entry | Discarded]:
        """What comes next, at most so much; nothing only where nothing is there, of which `wake` tells the end.

        Raises `Replaced`, `Unavailable`.
        """
        if self._apart is not None:
            return await self._next_of(self._apart, most)
        taken = self._feed.take(self._tap, self.place, most)
        if taken is None:
            self._apart = self._stored()
            return await self._next_of(self._apart, most)
        found, self.place = taken
        return list(found)

    async def close(self) -> None:
        if self._apart is not None:
            await self._apart.aclose()

    async def _next_of(self, apart: AsyncGenerator[Entry | Discarded], most: Room) -> list[Entry | Discarded]:
        found: list[Entry | Discarded] = []
        size = 0
        async for item in apart:
            found.append(item)
            if isinstance(item, Entry):
                self.place = item.sequence
                size += item.size
            if len(found) == most.messages or size >= most.size:
                return found
        self._apart = None
        # What came while the last of these was told has woken already, and nothing else may come.
        return found or await self.some(most)

    async def _before(self) -> AsyncGenerator[Entry | Discarded]:
        past = self._part.past
        if past is not None:
            async with aclosing(self._between(past.subjects, past.after, self._part.after)) as entries:
                async for entry in entries:
                    yield entry
        self.place = self._part.after

    async def _stored(self) -> AsyncGenerator[Entry | Discarded]:
        with asked_of(self._part.stream):
            now = await extent(self._bus, self._part.stream)
        if now.created != self._part.there.created or now.last < self.place:
            raise Replaced(f"{self._part.stream.name} was made anew or lost its end")
        if now.first > self.place + 1:
            yield Discarded(self.place, now.first)
        async with aclosing(self._between(self._part.subjects, self.place, now.last)) as entries:
            async for entry in entries:
                yield entry
        self.place = now.last
        self._feed.join(self._tap, self.place)

    async def _between(self, subjects: Sequence[str], after: int, last: int) -> AsyncGenerator[Entry]:
        reading = read_until_now(
            self._bus, self._part.stream, subjects, after, batch=READ_AT_ONCE[self._part.stream.name]
        )
        async with aclosing(reading) as stored:
            async for kept in stored:
                if kept.sequence > last:
                    return
                yield Entry(kept)


@asynccontextmanager
async def source(bus: Bus, feeds: Feeds, part: Part, wake: Callable[[], None]) -> AsyncGenerator[Source]:
    async with feeds.joined(part.stream, part.subjects) as feed:
        tap = Tap(part.keys, wake)
        feed.join(tap, part.after)
        joined = Source(bus, part, feed, tap)
        try:
            yield joined
        finally:
            feed.leave(tap)
            await joined.close()
