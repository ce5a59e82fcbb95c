"""Carries what tools print from the engine to LOGS, by one replica at a time, without gap or repeat."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from libs.contracts.logs import LogLine
from libs.contracts.problems import Failure
from libs.runtime.bus.connection import Bus, Unavailable
from libs.runtime.bus.lease import LeaseLost, lease
from libs.runtime.bus.logs import LogWriter, Overtaken, bounded
from services.orchestrator.domain import log_frames
from services.orchestrator.domain.log_frames import LogPosition
from services.orchestrator.ports import Containers, Feed

log = structlog.get_logger(__name__)

NANO = 1_000_000_000
LOOK_AGAIN = 5.0
PAUSE = 1.0


@dataclass
class Follower:
    """`changed` is the watcher's: containers may have come or gone."""

    bus: Bus
    containers: Containers
    feed: Feed
    changed: asyncio.Event
    _following: dict[str, asyncio.Task[None]] = field(default_factory=dict[str, asyncio.Task[None]])

    async def run(self) -> None:
        while True:
            try:
                async with lease(self.bus, "logs.local"):
                    await self._follow_all()
            except* (LeaseLost, Unavailable) as lost:
                log.warning("the logs are not followed from here for now", problem=str(lost.exceptions[0]))
            finally:
                await self._leave_all()

    async def _follow_all(self) -> None:
        while True:
            self.changed.clear()
            try:
                for tool, seen in (await self.containers.observe_all()).items():
                    for service in seen.services:
                        if service.is_up and service.container_id not in self._following:
                            self._begin(tool, service.name, service.container_id)
            except Failure as problem:
                log.debug("containers cannot be listed", problem=problem.message)
            try:
                async with asyncio.timeout(LOOK_AGAIN):
                    await self.changed.wait()
            except TimeoutError:
                continue

    def _begin(self, tool: str, service: str, container: str) -> None:
        task = asyncio.create_task(self._follow(tool, service, container))
        self._following[container] = task
        task.add_done_callback(lambda _: self._following.pop(container, None))

    async def _follow(self, tool: str, service: str, container: str) -> None:
        writer = LogWriter(self.bus, tool, service, exclusive=True)
        try:
            await writer.position()
            async with writer.writing(), aclosing(self.feed.follow_logs(container, _position(writer.mark))) as lines:
                async for batch in lines:
                    await writer.add([(_line(line), _mark(line.position)) for line in batch])
        except (Failure, Overtaken, Unavailable) as problem:
            log.debug("following ended", tool=tool, problem=str(problem))
            await asyncio.sleep(PAUSE)
        self.changed.set()

    async def _leave_all(self) -> None:
        tasks = list(self._following.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _line(line: log_frames.LogLine) -> LogLine:
    return LogLine(time=datetime.fromtimestamp(line.time / NANO, UTC), text=bounded(line.text))


def _mark(position: LogPosition) -> str:
    return f"{position.time}.{position.lines}"


def _position(mark: str | None) -> LogPosition | None:
    if mark is None:
        return None
    at, _, lines = mark.partition(".")
    return LogPosition(int(at), int(lines))
