"""Followed and kept logs as NDJSON, one object a line."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from libs.contracts.envelope import Undecodable
from libs.contracts.logs import LogLine, PlainChunk, plain_chunk
from libs.contracts.names import is_operation_id
from libs.contracts.streams import LOGS
from libs.contracts.subjects import LOG
from libs.runtime import metrics
from libs.runtime.bus.connection import Bus, Kept
from libs.runtime.bus.reader import asked_of, extent, read, read_until_now, subjects_of
from libs.runtime.logging import get_logger
from services.status.domain.entries import OperationEntry
from services.status.lookup import Lookup

log = get_logger(__name__)

# Bytes.
BESIDE = 256 * 1024
# Chunks on their way to one reader, of 64 KiB each: whoever does not read holds no more.
READ_AT_ONCE = 8

_MISSED = metrics.log_lines_missed.labels("http")


def chunk_of(kept: Kept) -> PlainChunk | None:
    """None for what cannot be read: one such message must not end a log."""
    try:
        chunk = plain_chunk(kept.data, kept.subject)
    except Undecodable as problem:
        log.error("lines cannot be read and are passed over", sequence=kept.sequence, problem=str(problem))
        return None
    return chunk if chunk.lines else None


class Printer:
    """Chunks as lines of NDJSON. Lines that were lost are told by one in their place, their number in `missed`."""

    def __init__(self, *, with_service: bool, expected: dict[str, int] | None = None) -> None:
        self._with_service = with_service
        self._next = expected or {}

    def printed(self, kept: Kept) -> bytes:
        chunk = chunk_of(kept)
        return self.print(chunk) if chunk is not None else b""

    def print(self, chunk: PlainChunk, skip: int = 0) -> bytes:
        about = {"service": chunk.source} if self._with_service else {}
        lines: list[dict[str, object]] = [
            {"time": line["time"], **about, "text": line["text"]} for line in chunk.lines[skip:]
        ]
        missed = chunk.first - self._next.get(chunk.source, chunk.first)
        self._next[chunk.source] = chunk.first + len(chunk.lines)
        if missed > 0:
            _MISSED.inc(missed)
            lines.insert(0, {**lines[0], "text": f"[{missed} lines are no longer kept]", "missed": missed})
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


async def operation_log(bus: Bus, lookup: Lookup, operation: OperationEntry, *, follow: bool) -> AsyncGenerator[bytes]:
    """From the first line on; following ends when the operation has ended and all its lines are out."""
    subject = LOG.build({"tool": operation.tool, "source": operation.id})
    printer = Printer(with_service=False, expected={operation.id: 0})
    if not follow:
        async with aclosing(read_until_now(bus, LOGS, [subject], batch=READ_AT_ONCE)) as history:
            async for kept in history:
                yield printer.printed(kept)
        return
    async with (
        _end_of_log(bus, lookup, operation.id, subject) as end,
        aclosing(read(bus, LOGS, [subject], 0, end=end, batch=READ_AT_ONCE)) as items,
    ):
        async for item in items:
            if isinstance(item, Kept):
                yield printer.printed(item)


@asynccontextmanager
async def _end_of_log(bus: Bus, lookup: Lookup, operation: str, subject: str) -> AsyncGenerator[asyncio.Future[int]]:
    """The sequence of its last lines, known once it has ended: a worker says all of them before the end."""
    end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def find() -> None:
        try:
            await lookup.ended(operation, None)
            last = await bus.last(LOGS, subject)
            end.set_result(last.sequence if last is not None else 0)
        except Exception as problem:
            end.set_exception(problem)

    finding = asyncio.create_task(find())
    try:
        yield end
    finally:
        finding.cancel()
        await asyncio.gather(finding, return_exceptions=True)


async def tool_log(
    bus: Bus, tool: str, *, service: str | None = None, follow: bool, tail: int | None
) -> AsyncGenerator[bytes]:
    """Of one of the tool's services, or all; `tail` lines of what is kept (None: all of it), then what comes.

    Raises `Unavailable` while there is nothing of it yet; what is begun goes on over any outage.
    """
    return _printed(bus, await _kept(bus, tool, service), _subjects(tool, service), follow, tail)


async def _printed(bus: Bus, history: _History, subjects: str, follow: bool, tail: int | None) -> AsyncGenerator[bytes]:
    printer = Printer(with_service=True)
    if tail is not None:
        for chunk, skip in (await _newest(bus, history, tail)).taken():
            yield printer.print(chunk, skip)
    else:
        async with aclosing(history.read(bus)) as stored:
            async for kept in stored:
                yield printer.printed(kept)
    if not follow:
        return
    async with aclosing(read(bus, LOGS, [subjects], history.last, batch=READ_AT_ONCE)) as items:
        async for item in items:
            if isinstance(item, Kept) and _is_service(item.subject):
                yield printer.printed(item)


async def last_lines(bus: Bus, tool: str, count: int) -> list[tuple[str, LogLine]]:
    """The last lines of all the tool's services, in the order they are kept; each with its service's name.

    Raises `Unavailable`.
    """
    if count == 0:
        return []
    newest = await _newest(bus, await _kept(bus, tool, None), count)
    return [
        (chunk.source, LogLine.model_validate(line)) for chunk, skip in newest.taken() for line in chunk.lines[skip:]
    ]


async def _newest(bus: Bus, history: _History, tail: int) -> Tail:
    newest = Tail(tail)
    async with aclosing(history.read(bus)) as stored:
        async for kept in stored:
            newest.add(kept)
    return newest


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

    def add(self, kept: Kept) -> None:
        self._chunks.append(kept)
        self.size += len(kept.data)
        if self.size > self._room:
            self._cut()

    def taken(self) -> Iterator[tuple[PlainChunk, int]]:
        """Chunks, each with how many of its own lines to skip; they are held no longer."""
        skip = self._cut()
        while self._chunks:
            chunk = chunk_of(self._chunks.popleft())
            if chunk is not None:
                yield chunk, skip
            skip = 0

    def _cut(self) -> int:
        """Drops the chunks before the last lines; returns how many lines there are too many in the first one left."""
        lines, needed = 0, deque[Kept]()
        while self._chunks and lines < self._lines:
            kept = self._chunks.pop()
            if (chunk := chunk_of(kept)) is not None:
                lines += len(chunk.lines)
                needed.appendleft(kept)
        self._chunks = needed
        self.size = sum(len(kept.data) for kept in needed)
        self._room = 2 * self.size + BESIDE
        return max(0, lines - self._lines)


@dataclass(frozen=True)
class _History:
    """What is kept of a tool's services: what stands under these subjects, up to a sequence."""

    subjects: Sequence[str]
    last: int

    async def read(self, bus: Bus) -> AsyncGenerator[Kept]:
        if not self.subjects:
            return
        async with aclosing(read_until_now(bus, LOGS, self.subjects, batch=READ_AT_ONCE)) as stored:
            async for kept in stored:
                if kept.sequence > self.last:
                    return
                yield kept


async def _kept(bus: Bus, tool: str, service: str | None) -> _History:
    with asked_of(LOGS):
        now = (await extent(bus, LOGS)).last
        found = await subjects_of(bus, LOGS, _subjects(tool, service))
    return _History([each for each in found if _is_service(each)], now)


def _subjects(tool: str, service: str | None) -> str:
    return LOG.filter(tool=tool) if service is None else LOG.build({"tool": tool, "source": service})


def _is_service(subject: str) -> bool:
    return not is_operation_id(LOG.parse(subject)["source"])
