"""Writing the lines of one source to LOGS, in chunks that a reader can count.

Each chunk is appended expecting the one before it, so two writers of one source never interleave
unnoticed, and a chunk whose acknowledgement was lost is not stored twice. Where the one before is gone, or what came
after it is no chunk, nobody else has written: numbers and mark go on. What waits is bounded: `write` holds its
caller back; `offer` lets go of the oldest lines instead, whose number the next chunk leaves out, so that every reader
knows exactly how many are missing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from json import dumps
from json.encoder import encode_basestring
from typing import NamedTuple

from nats.errors import Error as NatsError

from libs.contracts.envelope import new_message_id, wrapped
from libs.contracts.logs import CHUNK_BYTES, CHUNK_LINES, LINE_BYTES, LogChunk
from libs.contracts.streams import LOGS
from libs.contracts.subjects import LOG
from libs.runtime import metrics
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Conflict, Refused, Unavailable
from libs.runtime.bus.stored import Kept
from libs.runtime.cancellation import abandon
from libs.runtime.logging import get_logger

log = get_logger(__name__)

FLUSH_AFTER = 0.1
# Seconds before what the stream did not take is tried again.
RETRY = 0.5
# Bytes of lines that wait before whoever brings more is held back, and before the oldest are let go of.
SOFT, HARD = 1024 * 1024, 8 * 1024 * 1024
LINE_COST = 64


class Overtaken(Exception):
    """Somebody else writes this source now."""


class Line(NamedTuple):
    """`time` as RFC 3339 has it. `mark` is the writer's own of where it stands after the line; its text is kept.

    `skipped`: so many lines before it were printed, and are not here.
    """

    time: str
    text: str
    mark: object = None
    skipped: int = 0


class _Held(NamedTuple):
    """A line as it will stand on the wire, and what it counts for in bytes."""

    encoded: str
    mark: object
    skipped: int
    size: int


@dataclass
class _Attempt:
    """Lines that are being stored, after `skipped` that were let go of."""

    id: str
    lines: list[_Held]
    skipped: int


class LogWriter:
    """One source's lines, in order."""

    def __init__(self, bus: Bus, tool: str, source: str, *, exclusive: bool = False) -> None:
        self._bus = bus
        self._tool = tool
        self._source = source
        self._exclusive = exclusive
        self._subject = LOG.build({"tool": tool, "source": source})
        self._pending: deque[_Held] = deque()
        self._size = 0
        self._skipped = 0
        self._flushing = asyncio.Lock()
        self._trying: _Attempt | None = None
        self._broken: Exception | None = None
        self._inside: asyncio.Timeout | None = None
        self._next: int | None = None
        self._sequence = 0
        self._full, self._room = asyncio.Event(), asyncio.Event()
        self.mark: str | None = None

    @property
    def size(self) -> int:
        """Of all that waits, in bytes."""
        return self._size

    @property
    def is_full(self) -> bool:
        """Whether whoever brings more has to wait."""
        return self._size >= SOFT

    async def position(self) -> None:
        """Finds where the source's lines end in the stream."""
        if await self._read_end(0) is None:
            self._next = 0

    async def _read_end(self, known: int) -> str | None:
        """Takes up what is newest, and the newest chunk after sequence `known`; returns its id, None without any."""
        kept = newest = await self._bus.last(LOGS, self._subject)
        chunk = None
        while kept is not None and kept.sequence > known:
            if isinstance(chunk := kept.message(), LogChunk):
                break
            kept = await self._before(kept.sequence, known)
        self._sequence = newest.sequence if newest else 0
        if kept is None or not isinstance(chunk, LogChunk):
            return None
        self._next, self.mark = chunk.first + len(chunk.lines), chunk.mark
        return kept.open().id

    async def _before(self, sequence: int, known: int) -> Kept | None:
        """The source's newest message between both, found by halving: the stream tells only what comes next."""
        first, end, found = known + 1, sequence, None
        while first < end:
            middle = (first + end) // 2
            kept = await self._bus.next(LOGS, self._subject, middle)
            if kept is None or kept.sequence >= sequence:
                end = middle
            else:
                first, found = kept.sequence + 1, kept
        return found

    async def write(self, texts: Sequence[str]) -> None:
        """Nothing of it is ever let go of: too much that waits is stored first."""
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        self._hold([Line(now, bounded(text)) for text in texts])
        if self._size >= SOFT:
            await self.flush()

    async def offer(self, lines: Sequence[Line], patience: float | None) -> None:
        """Waits for room, but not for longer than `patience` seconds (None: as long as it takes). For `writing` alone.

        Then the oldest that wait make room for the newest, so that what was printed last is there in the end.
        """
        self._hold(lines)
        if self.is_full and patience != 0:
            try:
                async with asyncio.timeout(patience):
                    while self.is_full and self._broken is None:
                        self._room.clear()
                        await self._room.wait()
            except TimeoutError:
                log.debug("lines come faster than they are stored", source=self._source)
        if self._size > HARD:
            self._let_go()

    def _hold(self, lines: Sequence[Line]) -> None:
        if self._broken is not None:
            raise self._broken
        for time, text, mark, skipped in lines:
            encoded = f'{{"time":"{time}","text":{encode_basestring(text)}}}'
            self._pending.append(_Held(encoded, mark, skipped, size := _bytes(encoded) + LINE_COST))
            self._size += size
            if skipped:
                self._count_dropped(skipped)
        if len(self._pending) >= CHUNK_LINES:
            self._full.set()

    def _let_go(self) -> None:
        """Down to half: many small holes would tell less, and cost more."""
        gone = 0
        while self._size > HARD / 2:
            line = self._pending.popleft()
            self._size -= line.size
            self._skipped += line.skipped + 1
            gone += 1
        self._count_dropped(gone)

    def _count_dropped(self, lines: int) -> None:
        metrics.log_lines_dropped.inc(lines)
        log.info("more is printed than can be carried", tool=self._tool, source=self._source, dropped=lines)

    async def flush(self) -> None:
        """All that was written before this call is stored when it returns."""
        async with self._flushing:
            if self._next is None:
                await self.position()
            while self._trying is not None or self._pending:
                if self._trying is None:
                    self._trying = self._cut()
                await self._store(self._trying)
                self._trying = None
                self._room.set()

    def _cut(self) -> _Attempt:
        """The next chunk: at least one line, and none after a hole, which only the beginning of a chunk can tell."""
        attempt = _Attempt(new_message_id(), [], self._skipped + self._pending[0].skipped)
        self._skipped = size = 0
        while self._pending and len(attempt.lines) < CHUNK_LINES:
            size += self._pending[0].size
            if attempt.lines and (size > CHUNK_BYTES or self._pending[0].skipped):
                break
            attempt.lines.append(self._pending.popleft())
            self._size -= attempt.lines[-1].size
        return attempt

    async def _store(self, attempt: _Attempt) -> None:
        """A chunk that could not be stored is tried again as it was, under its id: it may have arrived after all."""
        while True:
            first = (self._next or 0) + attempt.skipped
            payload = self._encoded(attempt, first)
            try:
                stored = await self._bus.publish_encoded(
                    LOGS, self._subject, payload, id=attempt.id, expected=self._sequence
                )
                self._sequence = stored.sequence
                break
            except Conflict:
                newest = await self._read_end(self._sequence)
                if newest == attempt.id:
                    break
                if newest is not None and self._exclusive:
                    raise Overtaken(f"{self._tool} {self._source}") from None
        self._next = first + len(attempt.lines)
        self.mark = _mark(attempt)
        metrics.log_lines.labels("tool" if self._exclusive else "operation").inc(len(attempt.lines))

    def _encoded(self, attempt: _Attempt, first: int) -> bytes:
        mark = _mark(attempt)
        about = dumps({"tool": self._tool, "source": self._source, "first": first, **({"mark": mark} if mark else {})})
        data = f'{about[:-1]}, "lines": [{",".join([line.encoded for line in attempt.lines])}]}}'
        return wrapped(LogChunk, self._subject, self._bus.source, attempt.id, datetime.now(UTC), data)

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[LogWriter]:
        """Flushes by itself: a full chunk at once, less within `FLUSH_AFTER` seconds, and at the end.

        Of an exclusive writer whoever is in here is told as soon as it breaks (`Overtaken`), whatever it waits for.
        """
        ticking = asyncio.create_task(self._tick())
        try:
            async with asyncio.timeout(None) as self._inside:
                yield self
            if self._broken is not None and self._exclusive:
                raise self._broken
        except TimeoutError:
            if self._broken is not None and self._inside is not None and self._inside.expired():
                raise self._broken from None
            raise
        finally:
            self._inside = None
            await abandon(ticking)
            if self._broken is None:
                await self.flush()

    async def _tick(self) -> None:
        """What the stream does not take now, whatever it says, waits, and is counted if it has to make way."""
        waits = False
        while True:
            await self._until_due()
            try:
                if self._pending or self._trying is not None:
                    await self.flush()
                waits = False
            except (Unavailable, Refused, NatsError) as problem:
                if not waits:
                    log.warning("log lines wait", tool=self._tool, source=self._source, problem=str(problem))
                waits = True
                await asyncio.sleep(RETRY)
            except Exception as problem:
                self._break(problem)
                return

    def _break(self, problem: Exception) -> None:
        """Whoever brings more is told, instead of waiting for room for ever."""
        if not isinstance(problem, Overtaken):
            log.error("writing lines broke", tool=self._tool, source=self._source, exc_info=problem)
        self._broken = problem
        self._room.set()
        if self._exclusive and self._inside is not None:
            self._inside.reschedule(0)

    async def _until_due(self) -> None:
        self._full.clear()
        if len(self._pending) >= CHUNK_LINES:
            return
        try:
            async with asyncio.timeout(FLUSH_AFTER):
                await self._full.wait()
        except TimeoutError:
            return


def bounded(text: str) -> str:
    return text if len(text) <= LINE_BYTES else text[:LINE_BYTES] + "…"


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _mark(attempt: _Attempt) -> str | None:
    mark = attempt.lines[-1].mark
    return None if mark is None else str(mark)
