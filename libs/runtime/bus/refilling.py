"""Filling tables anew from a stream, beside those that a projection keeps up to date meanwhile."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Protocol

from nats.errors import Error as NatsError

from libs.contracts.streams import Stream
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.reader import Extent, Replaced, extent, read_until_now
from libs.runtime.bus.stored import Kept

# Larger than what arrives bit by bit: what many of them are about is read and written once. Measured with 50,000
# events: 12,700 a second with 1,024, 18,400 with 4,096; what is held meanwhile, and for how long, grows alike.
BATCH = 4096


class Refilled(Protocol):
    """What is filled. Position and content change in one transaction."""

    async def stands_at(self, epoch: str) -> int | None:
        """The sequence of the last message taken in; None if they must be begun anew, as for another epoch."""
        ...

    async def begin_at(self, there: Extent, known: Sequence[Kept]) -> None:
        """Begin behind what `there` no longer holds; `known` is what is known without the messages before it."""
        ...

    async def take_in(self, messages: Sequence[Kept]) -> None: ...


async def refill(bus: Bus, stream: Stream, known: Stream, refilled: Refilled) -> None:
    """Up to the end that the stream has now, from where they stand. Raises `Unavailable`, and what they raise.

    `known` is a stream that holds the last word on each thing, for when `stream` no longer goes back to its start.
    """
    async with _named():
        there = await extent(bus, stream)
        position = await refilled.stands_at(there.epoch)
        if position is None or not there.first - 1 <= position <= there.last:
            position = there.first - 1
            words = [kept async for kept in read_until_now(bus, known, known.subjects)] if position else []
            await refilled.begin_at(there, words)
        batch: list[Kept] = []
        async with aclosing(read_until_now(bus, stream, stream.subjects, position, batch=BATCH)) as stored:
            async for kept in stored:
                batch.append(kept)
                if len(batch) == BATCH:
                    await refilled.take_in(batch)
                    batch = []
        if batch:
            await refilled.take_in(batch)


async def between(bus: Bus, stream: Stream, after: int, last: int) -> list[Kept]:
    """The messages behind one sequence and up to another that was stored. Raises `Unavailable`."""
    found: list[Kept] = []
    async with _named(), aclosing(read_until_now(bus, stream, stream.subjects, after)) as stored:
        async for kept in stored:
            if kept.sequence > last:
                break
            found.append(kept)
    return found


@asynccontextmanager
async def _named() -> AsyncGenerator[None]:
    try:
        yield
    except (NatsError, Replaced, TimeoutError) as problem:
        raise Unavailable(f"NATS: {problem!r}") from problem
