"""What the engine says by itself: its events, and what containers print."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic, time_ns
from typing import Any

from libs.runtime.cancellation import abandon
from libs.runtime.logging import get_logger
from services.orchestrator.adapters.engine import Engine, Query, path_of
from services.orchestrator.adapters.inspection import inspect_container
from services.orchestrator.domain.engine_events import ACTIONS, EngineEvent, parse_event
from services.orchestrator.domain.failures import EngineAway
from services.orchestrator.domain.log_frames import NOTHING, LogLine, LogPosition, LogReader, nanoseconds
from services.orchestrator.domain.log_frames import since as engine_time
from services.orchestrator.domain.log_lag import Leaps
from services.orchestrator.domain.names import containers_filter
from services.orchestrator.ports import AT_LEISURE, Pace

log = get_logger(__name__)

# Seconds without anything new, after which what came last is read, however much of a hurry there was.
PAUSE = 0.1
# Seconds for which the difference of two clocks is taken for what it was.
CLOCK_KEPT = 60.0
# Seconds after which an answer that was shared is asked for again.
SHARED = 0.01


@dataclass(frozen=True)
class DockerFeed:
    """Of all tools, or of one. `quiet` seconds without an event, the engine is asked whether it lives.

    A killed one closes its connections, which shows at once; a frozen one, or one out of reach, does not.
    """

    engine: Engine
    instance: str
    quiet: float = 10.0
    ping_patience: float = 5.0
    tool: str | None = None
    _clock: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]], compare=False, repr=False)

    async def ping(self) -> str:
        answer = await self.engine.call("GET", "/version", patience=self.ping_patience)
        return str(answer["Version"])

    async def now(self) -> int:
        """The engine gives one answer to all who ask at once, and to who comes before the last of them has left.

        So the first may be of before we asked; one that differs from it is not.
        """
        first = await self._shown()
        while True:
            later = await self._shown()
            if later != first:
                return later
            await asyncio.sleep(SHARED)

    async def _shown(self) -> int:
        answer = await self.engine.call("GET", "/info", patience=self.ping_patience)
        return nanoseconds(answer["SystemTime"])

    async def events(self, since: int | None = None) -> AsyncGenerator[EngineEvent, None]:
        filters = {"type": ["container"], "event": list(ACTIONS), **containers_filter(self.instance, self.tool)}
        query: dict[str, Any] = {"filters": filters}
        if since is not None:
            query["since"] = engine_time(since)
        async with aclosing(self._alive("/events", query)) as answers:
            async for answer in answers:
                if (event := parse_event(answer)) is not None:
                    yield event
        raise EngineAway("The Docker Engine ended its event stream: it is shutting down.")

    async def follow_logs(
        self, container_id: str, after: LogPosition | None = None, pace: Pace = AT_LEISURE
    ) -> AsyncGenerator[list[LogLine], None]:
        raw, ahead, leaps = await self._has_terminal(container_id), await self._ahead(), Leaps()
        untold, leapt_to = NOTHING, None
        if after is not None and after.time > (now := time_ns() + ahead):
            after = await self._yet_to_come(container_id, after, now)
        while True:
            reader = LogReader(after, raw=raw, untold=untold)
            leaps.opened(time_ns() + ahead)
            async with aclosing(self._follow(container_id, after, reader, pace, leaps, ahead)) as batches:
                async for lines in batches:
                    if leapt_to is not None and reader.first is not None:
                        leaps.turned_out(reader.lost or reader.first < leapt_to)
                        leapt_to = None
                    yield lines
            if reader.leapt_to is None:
                return
            log.info("lines are read again: the engine may have left some out", container=container_id)
            after, untold, leapt_to = reader.position, reader.untold, reader.leapt_to

    async def _yet_to_come(self, container_id: str, after: LogPosition, now: int) -> LogPosition:
        """A clock that was ahead gave lines such times, by which reading goes on as ever. Without one that the engine
        still has, nothing would be read until that time has come.
        """
        query: Query = {"since": engine_time(after.time), "stdout": True, "stderr": True, "timestamps": True}
        async with aclosing(self.engine.stream(_logs(container_id), query)) as chunks:
            async for chunk in chunks:
                if chunk:
                    return after
        log.warning("lines are read from now on: the last one's time is yet to come", container=container_id)
        return LogPosition(now, 0)

    async def _follow(
        self, container_id: str, after: LogPosition | None, reader: LogReader, pace: Pace, leaps: Leaps, ahead: int
    ) -> AsyncGenerator[list[LogLine], None]:
        """Until the container stops, or the reader."""
        query: dict[str, Any] = {"follow": True, "stdout": True, "stderr": True, "timestamps": True}
        if after is not None:
            query["since"] = engine_time(after.time)
        last: bytes | None = None  # of what is passed over, kept until more comes: the end is worth more
        async with aclosing(with_pauses(self.engine.stream(_logs(container_id), query), PAUSE)) as chunks:
            async for chunk in chunks:
                reader.leap = leaps.suspected(time_ns() + ahead)
                if last is not None and chunk:
                    reader.skip(last)
                elif last is not None and (lines := reader.feed(last)):
                    yield lines
                last = chunk if chunk and pace.is_hurried() and pace.is_late(reader.time) else None
                if chunk and last is None and (lines := reader.feed(chunk)):
                    yield lines
                if reader.leapt_to is not None:
                    return
                if chunk:
                    leaps.came(len(chunk), reader.time, time_ns() + ahead)

    async def tail_logs(self, container_id: str, count: int) -> list[LogLine]:
        query: Query = {"tail": count, "stdout": True, "stderr": True, "timestamps": True}
        reader = LogReader(raw=await self._has_terminal(container_id))
        return reader.feed(await self.engine.read("GET", _logs(container_id), query))

    async def _has_terminal(self, container_id: str) -> bool:
        inspected = await inspect_container(self.engine, container_id)
        return inspected is not None and bool(inspected["Config"]["Tty"])

    async def _ahead(self) -> int:
        """Of this machine's clock is the engine's, in nanoseconds; one far away is asked once in a while."""
        if self.engine.is_local:
            return 0
        if not self._clock or monotonic() - self._clock[0][0] > CLOCK_KEPT:
            self._clock[:] = [(monotonic(), await self.now() - time_ns())]
        return self._clock[0][1]

    async def ends(self, container_id: str, since: int) -> list[tuple[int, int]]:
        """When it ended since then (nanoseconds, ascending) and with which code, as far as the engine remembers."""
        filters = {"container": [container_id], "event": ["die"]}
        query: Query = {"since": engine_time(since), "until": engine_time(await self.now()), "filters": filters}
        async with aclosing(self.engine.json_lines("/events", query)) as events:
            found = [(event["timeNano"], event["Actor"]["Attributes"]["exitCode"]) async for event in events]
        return sorted((int(time), int(code)) for time, code in found)

    async def _alive(self, path: str, query: Query) -> AsyncGenerator[Any, None]:
        """The endless answer's objects, as long as the engine lives."""
        async with aclosing(self.engine.json_lines(path, query)) as answers:
            coming: asyncio.Future[Any] | None = None
            try:
                while True:
                    coming = asyncio.ensure_future(anext(answers, None))
                    while not (await asyncio.wait({coming}, timeout=self.quiet))[0]:
                        await self.ping()
                    answer = coming.result()
                    if answer is None:
                        return
                    yield answer
            finally:
                if coming is not None:
                    await abandon(coming)


async def with_pauses(chunks: AsyncGenerator[bytes], pause: float) -> AsyncGenerator[bytes]:
    """The chunks, and nothing (b"") after each that no other one follows within so many seconds, and at the end."""
    coming: asyncio.Future[bytes] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(chunks, b""))
            if not (await asyncio.wait({coming}, timeout=pause))[0]:
                yield b""
            chunk = await coming
            yield chunk
            if not chunk:
                return
    finally:
        if coming is not None:
            await abandon(coming)
        await chunks.aclose()


def _logs(container_id: str) -> str:
    return path_of("containers", container_id, "logs")
