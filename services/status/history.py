"""What is kept of the lines of a tool's services: all of it, or the last ones, for which little more is read."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from libs.contracts.envelope import Undecodable
from libs.contracts.logs import PlainChunk, plain_chunk
from libs.contracts.names import is_operation_id
from libs.contracts.streams import LOGS
from libs.contracts.subjects import LOG
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.reader import asked_of, count_by_subject, count_from, extent, first_since, read_until_now
from libs.runtime.bus.stored import Kept
from libs.runtime.logging import get_logger

log = get_logger(__name__)

# Bytes.
BESIDE = 256 * 1024
# Chunks on their way to one reader, of 64 KiB each: whoever does not read holds no more.
READ_AT_ONCE = 8
# A line is stored after it was printed; by so much the engine's clock may be ahead of the server's.
AHEAD = timedelta(minutes=1)
# Each look further back is for so many times as many chunks as the one before; so many times too many may be read.
FURTHER, TOO_MANY = 8, 4


def chunk_of(kept: Kept) -> PlainChunk | None:
    """None for what cannot be read: one such message must not end a log."""
    try:
        chunk = plain_chunk(kept.data, kept.subject)
    except Undecodable as problem:
        log.error("lines cannot be read and are passed over", sequence=kept.sequence, problem=str(problem))
        return None
    return chunk if chunk.lines else None


class Tail:
    """The last so many lines of what is added. `size` is what it holds for them, in bytes.

    How many lines a chunk has is known only to who reads it, so not each is looked at as it comes: what is held is
    up to twice what the lines stand in, and `BESIDE`.
    """

    def __init__(self, lines: int) -> None:
        self.size = 0
        self._lines = lines
        self._chunks: deque[Kept] = deque()
        self._room = BESIDE
        self._cut_to: tuple[int, int] | None = None

    def add(self, kept: Kept) -> None:
        self._chunks.append(kept)
        self._cut_to = None
        self.size += len(kept.data)
        if self.size > self._room:
            self._cut()

    def count(self) -> int:
        """How many lines there are of those wanted."""
        lines, _ = self._cut()
        return lines

    def taken(self) -> Iterator[tuple[Kept, int]]:
        """Chunks, each with how many of its own lines to skip; they are held no longer."""
        _, skip = self._cut()
        while self._chunks:
            yield self._chunks.popleft(), skip
            skip = 0

    def _cut(self) -> tuple[int, int]:
        """Drops the chunks before the last lines; returns how many those are, and how many too many are left there."""
        if self._cut_to is not None:
            return self._cut_to
        lines, needed = 0, deque[Kept]()
        while self._chunks and lines < self._lines:
            kept = self._chunks.pop()
            if (chunk := chunk_of(kept)) is not None:
                lines += len(chunk.lines)
            needed.appendleft(kept)
        self._chunks = needed
        self.size = sum(len(kept.data) for kept in needed)
        self._room = 2 * self.size + BESIDE
        self._cut_to = min(lines, self._lines), max(0, lines - self._lines)
        return self._cut_to


@dataclass(frozen=True)
class History:
    """So many chunks of a tool's services: all under these subjects, from and up to a sequence of the stream."""

    subjects: Sequence[str]
    chunks: int
    first: int
    last: int

    async def read(self, bus: Bus, first: int | None = None, last: int | None = None) -> AsyncGenerator[Kept]:
        """All of it; or from a sequence on, up to one."""
        if not self.subjects:
            return
        begin, until = self.first if first is None else first, self.last if last is None else last
        async with aclosing(read_until_now(bus, LOGS, self.subjects, begin - 1, batch=READ_AT_ONCE)) as stored:
            async for kept in stored:
                if kept.sequence > until:
                    return
                yield kept

    async def since(self, bus: Bus, moment: datetime) -> History:
        """Without what was stored so long before that no line of it is as late. Raises `Unavailable`."""
        with asked_of(LOGS):
            first = await first_since(bus, LOGS, moment, AHEAD, (self.first, self.last))
        return replace(self, first=first, chunks=await count_from(bus, LOGS, self.subjects, first))

    async def newest(self, bus: Bus, lines: int) -> AsyncGenerator[tuple[Kept, int]]:
        """The chunks of the last lines, each with how many of its own to skip; what cannot be read among them, too.

        Each chunk has at least one line and up to hundreds: what is kept is read piece by piece from the end, until
        there are enough. An outage is waited for.
        """
        pieces: deque[Tail] = deque()
        end, looked_at, wanted = self.last + 1, 0, 1
        while lines > 0 and looked_at < self.chunks and end > self.first:
            start = await self._start(bus, end, wanted, looked_at)
            piece = Tail(lines)
            async with aclosing(self.read(bus, start, end - 1)) as stored:
                async for kept in stored:
                    looked_at += 1
                    piece.add(kept)
            found = piece.count()
            pieces.appendleft(piece)
            lines -= found
            end, wanted = start, min(FURTHER * wanted, lines) if found else FURTHER * wanted
        for piece in pieces:
            for taken in piece.taken():
                yield taken

    async def _start(self, bus: Bus, end: int, wanted: int, looked_at: int) -> int:
        """A sequence from which on, up to `end`, there are so many chunks if there are; and not many times as many."""
        if self.chunks - looked_at <= TOO_MANY * wanted:
            return self.first
        beyond = await count_from(bus, LOGS, self.subjects, end)

        async def count(start: int) -> int:
            return await count_from(bus, LOGS, self.subjects, start) - beyond

        apart = (self.last + 1 - end) // looked_at if looked_at else (self.last + 1 - self.first) // self.chunks
        span, above = wanted * max(1, apart), end
        start = max(self.first, end - span)
        while (there := await count(start)) < wanted and start > self.first:
            span, above = FURTHER * span, start
            start = max(self.first, end - span)
        while there > TOO_MANY * wanted and above - start > 1:
            middle = (start + above) // 2
            if (nearer := await count(middle)) >= wanted:
                start, there = middle, nearer
            else:
                above = middle
        return start


async def history_of(bus: Bus, tool: str, service: str | None) -> History:
    """Of one of its services, or of all. Raises `Unavailable`."""
    with asked_of(LOGS):
        now = await extent(bus, LOGS)
        found = await count_by_subject(bus, LOGS, subjects_of_tool(tool, service))
    services = {subject: chunks for subject, chunks in found.items() if is_service(subject)}
    return History(sorted(services), sum(services.values()), now.first, now.last)


def subjects_of_tool(tool: str, service: str | None) -> str:
    return LOG.filter(tool=tool) if service is None else LOG.build({"tool": tool, "source": service})


def is_service(subject: str) -> bool:
    """Whatever else somebody put into the stream is nobody's lines."""
    return LOG.takes(subject) and not is_operation_id(LOG.parse(subject)["source"])
