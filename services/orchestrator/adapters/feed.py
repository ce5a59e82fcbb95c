"""What the engine says by itself: its events, and what containers print."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from services.orchestrator.adapters.engine import Engine, Query, path_of
from services.orchestrator.domain.engine_events import ACTIONS, EngineEvent, parse_event
from services.orchestrator.domain.failures import EngineAway
from services.orchestrator.domain.log_frames import LogLine, LogPosition, LogReader
from services.orchestrator.domain.log_frames import since as engine_time
from services.orchestrator.domain.names import containers_filter


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

    async def ping(self) -> str:
        answer = await self.engine.call("GET", "/version", patience=self.ping_patience)
        return str(answer["Version"])

    async def events(self, since: int | None = None) -> AsyncGenerator[EngineEvent, None]:
        filters = {"type": ["container"], "event": list(ACTIONS), **containers_filter(self.instance, self.tool)}
        query: dict[str, Any] = {"filters": filters}
        if since is not None:
            query["since"] = engine_time(since)
        async with aclosing(self._alive("/events", query)) as answers:
            async for answer in answers:
                event = parse_event(answer)
                if event is not None and (since is None or event.time >= since):
                    yield event
        raise EngineAway("The Docker Engine ended its event stream: it is shutting down.")

    async def follow_logs(
        self, container_id: str, after: LogPosition | None = None
    ) -> AsyncGenerator[list[LogLine], None]:
        query: dict[str, Any] = {"follow": True, "stdout": True, "stderr": True, "timestamps": True}
        if after is not None:
            query["since"] = engine_time(after.time)
        reader = LogReader(after)
        async with aclosing(self.engine.stream(_logs(container_id), query)) as chunks:
            async for chunk in chunks:
                if lines := reader.feed(chunk):
                    yield lines

    async def tail_logs(self, container_id: str, count: int) -> list[LogLine]:
        query: Query = {"tail": count, "stdout": True, "stderr": True, "timestamps": True}
        return LogReader().feed(await self.engine.read("GET", _logs(container_id), query))

    async def ends(self, container_id: str, since: int) -> list[tuple[int, int]]:
        """When it ended since then (nanoseconds, ascending) and with which code, as far as the engine remembers."""
        filters = {"container": [container_id], "event": ["die"]}
        query: Query = {"since": engine_time(since), "until": engine_time(time.time_ns()), "filters": filters}
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
                if coming is not None and not coming.done():
                    coming.cancel()
                    await asyncio.wait({coming})


def _logs(container_id: str) -> str:
    return path_of("containers", container_id, "logs")
