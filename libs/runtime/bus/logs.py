"""Writing the lines of one source to LOGS, in chunks that a reader can count.

Each chunk is appended expecting the one before it, so two writers of one source never interleave
unnoticed, and a chunk whose acknowledgement was lost is not stored twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from libs.contracts.envelope import new_message_id
from libs.contracts.logs import CHUNK_BYTES, CHUNK_LINES, LINE_BYTES, LogChunk, LogLine
from libs.contracts.streams import LOGS
from libs.contracts.subjects import LOG
from libs.runtime import metrics
from libs.runtime.bus.connection import Bus, Conflict, Kept, Unavailable
from libs.runtime.logging import get_logger

log = get_logger(__name__)

FLUSH_AFTER = 0.1
MAX_PENDING = 4096


class Overtaken(Exception):
    """Somebody else writes this source now."""


class LogWriter:
    """`write` returns at once unless more than `MAX_PENDING` lines wait: then it holds its caller back."""

    def __init__(self, bus: Bus, tool: str, source: str, *, exclusive: bool = False) -> None:
        self._bus = bus
        self._tool = tool
        self._source = source
        self._exclusive = exclusive
        self._pending: list[tuple[LogLine, str | None]] = []
        self._flushing = asyncio.Lock()
        self._trying: tuple[str, int] | None = None
        self._broken: Overtaken | None = None
        self._next: int | None = None
        self._sequence = 0
        self.mark: str | None = None

    async def position(self) -> Kept | None:
        """Finds where the source's lines end in the stream; returns the chunk that stands there."""
        last = await self._bus.last(LOGS, LOG.build({"tool": self._tool, "source": self._source}))
        chunk = last.message() if last is not None else None
        if last is None or not isinstance(chunk, LogChunk):
            self._next, self._sequence = 0, last.sequence if last else 0
            return None
        self._next, self._sequence = chunk.first + len(chunk.lines), last.sequence
        self.mark = chunk.mark
        return last

    async def write(self, texts: Sequence[str]) -> None:
        now = datetime.now(UTC)
        await self.add([(LogLine(time=now, text=bounded(text)), None) for text in texts])

    async def add(self, lines: Sequence[tuple[LogLine, str | None]]) -> None:
        """Lines, each with the writer's mark of where it stands after it; `mark` is that of the last one stored."""
        if self._broken is not None:
            raise self._broken
        self._pending.extend(lines)
        if len(self._pending) >= CHUNK_LINES:
            await self.flush() if len(self._pending) >= MAX_PENDING else await self._flush_full()

    async def _flush_full(self) -> None:
        if not self._flushing.locked():
            await self.flush()

    async def flush(self) -> None:
        """All that was written before this call is stored when it returns."""
        async with self._flushing:
            if self._next is None:
                await self.position()
            while self._pending:
                if self._trying is None:
                    self._trying = new_message_id(), _chunk_size(self._pending)
                id, size = self._trying
                await self._store(id, tuple(self._pending[:size]))
                self._trying = None
                del self._pending[:size]

    async def _store(self, id: str, pending: tuple[tuple[LogLine, str | None], ...]) -> None:
        """A chunk that could not be stored is tried again as it was, under its id: it may have arrived after all."""
        lines = tuple(line for line, _ in pending)
        while True:
            chunk = LogChunk(
                tool=self._tool, source=self._source, first=self._next or 0, lines=lines, mark=pending[-1][1]
            )
            try:
                self._sequence = (await self._bus.publish(LOGS, chunk, id=id, expected=self._sequence)).sequence
                break
            except Conflict:
                if await self._was_ours(id):
                    break
                if self._exclusive:
                    raise Overtaken(f"{self._tool} {self._source}") from None
        self._next = chunk.first + len(lines)
        self.mark = chunk.mark
        metrics.log_lines.labels("tool" if self._exclusive else "operation").inc(len(lines))

    async def _was_ours(self, id: str) -> bool:
        """After a conflict: takes up the new end of the source, and tells whether that end is our own chunk."""
        last = await self.position()
        return last is not None and last.open().id == id

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[LogWriter]:
        """Flushes by itself within `FLUSH_AFTER` seconds, and at the end."""
        ticking = asyncio.create_task(self._tick())
        try:
            yield self
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
            if self._broken is None:
                await self.flush()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_AFTER)
            try:
                if self._pending:
                    await self.flush()
            except Unavailable as outage:
                log.warning("log lines wait", source=self._source, problem=str(outage))
            except Overtaken as problem:
                self._broken = problem
                return


def bounded(text: str) -> str:
    return text if len(text) <= LINE_BYTES else text[:LINE_BYTES] + "…"


def _chunk_size(lines: Sequence[tuple[LogLine, str | None]]) -> int:
    """How many of these lines go into the next chunk: at least one."""
    total = 0
    for count, (line, _) in enumerate(lines[:CHUNK_LINES]):
        total += len(line.text.encode()) + 64
        if total > CHUNK_BYTES and count:
            return count
    return min(len(lines), CHUNK_LINES)
