"""Followed and kept logs as NDJSON, one object a line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import datetime

from libs.contracts.logs import LogLine, PlainChunk
from libs.contracts.streams import LOGS
from libs.contracts.subjects import LOG
from libs.runtime import metrics
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.reader import read, read_until_now
from libs.runtime.bus.stored import Kept
from libs.runtime.cancellation import abandon
from libs.runtime.logging import get_logger
from services.status.domain.cursors import missing_because
from services.status.domain.entries import OperationEntry
from services.status.domain.silence import Silence
from services.status.history import READ_AT_ONCE, History, chunk_of, history_of, is_service, subjects_of_tool
from services.status.lookup import Lookup

log = get_logger(__name__)

# Returns when there is nothing more to come.
Over = Callable[[], Awaitable[object]]

# Seconds between two looks whether more lines of a tool that is gone have come.
LOOK_AGAIN = 0.5

_MISSED = metrics.log_lines_missed.labels("http")


async def never() -> None:
    await asyncio.Event().wait()


class Printer:
    """Chunks as lines of NDJSON. Lines that are missing are told by one in their place, their number in `missed`.

    Of all printers that share their `turns` one prints at a time, and then everybody else has his turn: of some hundred
    readers each would take 3 ms of the process for each chunk, one after the other, and a request would wait for them.
    Lines before `since` are left out.
    """

    def __init__(
        self,
        turns: asyncio.Lock,
        *,
        with_service: bool,
        expected: dict[str, int] | None = None,
        since: datetime | None = None,
    ) -> None:
        self._turns = turns
        self._with_service = with_service
        self._next = expected or {}
        self._since = since
        self._unreadable: set[str] = set()

    async def print(self, kept: Kept, skip: int = 0) -> bytes:
        """Without so many of its lines. What cannot be read is counted by the numbers of what comes after it."""
        async with self._turns:
            printed = self._text(kept, skip)
            await asyncio.sleep(0)
        return printed

    def _text(self, kept: Kept, skip: int) -> bytes:
        chunk = chunk_of(kept)
        if chunk is None:
            self._unreadable.add(LOG.parse(kept.subject)["source"])
            return b""
        lines = [line for line in self._missing(chunk) + self._lines(chunk, skip) if self._is_wanted(line)]
        self._next[chunk.source] = chunk.first + len(chunk.lines)
        self._unreadable.discard(chunk.source)
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()

    def _is_wanted(self, line: dict[str, object]) -> bool:
        return self._since is None or datetime.fromisoformat(str(line["time"])) >= self._since

    def _lines(self, chunk: PlainChunk, skip: int) -> list[dict[str, object]]:
        about = {"service": chunk.source} if self._with_service else {}
        return [
            {"number": number, "time": line["time"], **about, "text": line["text"]}
            for number, line in enumerate(chunk.lines[skip:], chunk.first + skip)
        ]

    def _missing(self, chunk: PlainChunk) -> list[dict[str, object]]:
        """With the number of the first of them, and the time of the line that comes after them."""
        missed = chunk.first - self._next.get(chunk.source, chunk.first)
        if missed <= 0:
            return []
        _MISSED.inc(missed)
        why = missing_because(chunk.source in self._unreadable)
        said = {"number": chunk.first - missed, "text": f"[{missed} lines {why}]", "missed": missed}
        return [{**self._lines(chunk, 0)[0], **said}]


async def operation_log(
    bus: Bus, lookup: Lookup, operation: OperationEntry, turns: asyncio.Lock, *, follow: bool
) -> AsyncGenerator[bytes]:
    """From the first line on; following ends when the operation has ended and all its lines are out."""
    subject = LOG.build({"tool": operation.tool, "source": operation.id})
    printer = Printer(turns, with_service=False, expected={operation.id: 0})
    if not follow:
        async with aclosing(read_until_now(bus, LOGS, [subject], batch=READ_AT_ONCE)) as history:
            async for kept in history:
                yield await printer.print(kept)
        return
    async with (
        _end_of_log(bus, lambda: lookup.ended(operation.id, None), subject) as end,
        aclosing(read(bus, LOGS, [subject], 0, end=end, batch=READ_AT_ONCE)) as items,
    ):
        async for item in items:
            if isinstance(item, Kept):
                yield await printer.print(item)


@asynccontextmanager
async def _end_of_log(bus: Bus, over: Over, subject: str) -> AsyncGenerator[asyncio.Future[int]]:
    """The sequence of the last lines, known once `over` returns: whoever prints them says all of them before."""
    end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def find() -> None:
        try:
            await over()
            end.set_result(await _newest(bus, subject))
        except Exception as problem:
            end.set_exception(problem)

    finding = asyncio.create_task(find())
    try:
        yield end
    finally:
        await abandon(finding)


async def _newest(bus: Bus, subject: str) -> int:
    """The sequence of what was said last, 0 for nothing; an outage is waited for."""
    while True:
        try:
            last = await bus.last(LOGS, subject)
        except Unavailable as away:
            log.info("whoever follows a log waits for its end", subject=subject, problem=str(away))
        else:
            return last.sequence if last is not None else 0


async def _silent(bus: Bus, subjects: str) -> None:
    """Returns once no more lines come."""
    clock = asyncio.get_running_loop()
    silence = Silence.begun(await _newest(bus, subjects), clock.time())
    while not silence.is_over(clock.time()):
        await asyncio.sleep(LOOK_AGAIN)
        asked = clock.time()
        newest = await _newest(bus, subjects)
        silence.heard(newest, asked, clock.time())


async def tool_log(
    bus: Bus,
    tool: str,
    turns: asyncio.Lock,
    *,
    service: str | None = None,
    follow: bool,
    tail: int | None,
    since: datetime | None = None,
    gone: Over = never,
) -> AsyncGenerator[bytes]:
    """Of one of the tool's services, or all; `tail` lines of what is kept (None: all of it), then what comes.

    `since` leaves out what was printed before, among the last `tail` lines too.
    Raises `Unavailable` while there is nothing of it yet; what is begun goes on over any outage, until `gone` returns
    and the last lines are out.
    """
    history, subjects = await history_of(bus, tool, service), subjects_of_tool(tool, service)
    if since is not None:
        history = await history.since(bus, since)
    printer = Printer(turns, with_service=True, since=since)

    async def over() -> None:
        await gone()
        await _silent(bus, subjects)

    return _printed(bus, printer, history, subjects, over if follow else None, tail)


async def _printed(
    bus: Bus, printer: Printer, history: History, subjects: str, over: Over | None, tail: int | None
) -> AsyncGenerator[bytes]:
    if tail is not None:
        async with aclosing(history.newest(bus, tail)) as newest:
            async for kept, skip in newest:
                yield await printer.print(kept, skip)
    else:
        async with aclosing(history.read(bus)) as stored:
            async for kept in stored:
                yield await printer.print(kept)
    if over is None:
        return
    async with (
        _end_of_log(bus, over, subjects) as end,
        aclosing(read(bus, LOGS, [subjects], history.last, end=end, batch=READ_AT_ONCE)) as items,
    ):
        async for item in items:
            if isinstance(item, Kept) and is_service(item.subject):
                yield await printer.print(item)


async def last_lines(bus: Bus, tool: str, count: int) -> list[tuple[str, LogLine]]:
    """The last lines of all the tool's services, in the order they are kept; each with its service's name.

    Raises `Unavailable`.
    """
    if count == 0:
        return []
    history = await history_of(bus, tool, None)
    async with aclosing(history.newest(bus, count)) as newest:
        return [
            (chunk.source, LogLine.model_validate(line))
            async for kept, skip in newest
            if (chunk := chunk_of(kept)) is not None
            for line in chunk.lines[skip:]
        ]
