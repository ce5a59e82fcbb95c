"""Carries what tools print from the engine to LOGS, by one replica at a time, without gap or repeat."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import structlog

from libs.contracts.problems import Failure
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Refused, Unavailable
from libs.runtime.bus.lease import LeaseLost, lease
from libs.runtime.bus.logs import Line, LogWriter, Overtaken, bounded
from libs.runtime.cancellation import abandon
from services.orchestrator.domain.log_frames import LogPosition, stamped
from services.orchestrator.domain.log_lag import Lag
from services.orchestrator.domain.observations import ServiceObservation
from services.orchestrator.ports import Containers, Feed

log = structlog.get_logger(__name__)

NANO = 1_000_000_000
SHORT = 12  # of a container's id, as everybody shortens it
LOOK_AGAIN = 5.0
# Seconds that reading may lag behind what is printed now because of storing: for so long the engine keeps what a tool
# prints as fast as it can (`LOG_ROTATION`). What was there before lies still, and is waited for.
BEHIND = 5.0
PAUSE = 1.0


@dataclass(frozen=True)
class _Pace:
    """`ports.Pace` of one container."""

    writer: LogWriter
    lag: Lag

    def is_late(self, at: int) -> bool:
        return self.lag.of(at, time.time_ns()) > BEHIND * NANO

    def is_hurried(self) -> bool:
        return self.writer.is_full

    def patience(self, at: int) -> float | None:
        """How long reading may wait for storing."""
        if not self.lag.is_live(at):
            return None
        return 0 if self.is_late(at) else BEHIND


@dataclass
class Follower:
    """`changed` is the watcher's: containers may have come or gone."""

    bus: Bus
    containers: Containers
    feed: Feed
    changed: asyncio.Event
    _following: dict[str, asyncio.Task[None]] = field(default_factory=dict[str, asyncio.Task[None]])
    _ended: dict[str, datetime | None] = field(default_factory=dict[str, datetime | None])

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
                everything = await self.containers.observe_all()
                there = {service.container_id for seen in everything.values() for service in seen.services}
                self._ended = {container: at for container, at in self._ended.items() if container in there}
                for tool, seen in everything.items():
                    for service in seen.services:
                        if self._has_news(service):
                            self._begin(tool, service)
            except Failure as problem:
                log.debug("containers cannot be listed", problem=problem.message)
            try:
                async with asyncio.timeout(LOOK_AGAIN):
                    await self.changed.wait()
            except TimeoutError:
                continue

    def _has_news(self, service: ServiceObservation) -> bool:
        """It runs, or has ended since it was last read to its end: what lives for a moment has said something too."""
        container = service.container_id
        if container in self._following:
            return False
        unread = container not in self._ended or self._ended[container] != service.started_at
        return service.is_up or (service.state == "exited" and unread)

    def _begin(self, tool: str, service: ServiceObservation) -> None:
        container = service.container_id
        task = asyncio.create_task(self._follow(tool, service.name, container))
        self._following[container] = task
        if not service.is_up:
            self._ended[container] = service.started_at
        task.add_done_callback(lambda _: self._following.pop(container, None))

    async def _follow(self, tool: str, service: str, container: str) -> None:
        writer = LogWriter(self.bus, tool, service, exclusive=True)
        try:
            await writer.position()
            pace, came = _Pace(writer, Lag(time.time_ns())), False
            following = self.feed.follow_logs(container, _position(writer.mark, container), pace)
            async with writer.writing(), aclosing(following) as lines:
                async for batch in lines:
                    came = True
                    carried = [
                        Line(stamped(at), bounded(text), Mark(place, container), gone)
                        for at, _, text, place, gone in batch
                    ]
                    await writer.offer(carried, pace.patience(batch[-1].time))
            if not came:  # as of a log that the engine cannot read, of a container that runs
                await asyncio.sleep(PAUSE)
        except (Failure, Overtaken, Unavailable, Refused) as problem:
            log.debug("following ended", tool=tool, problem=str(problem))
            self._ended.pop(container, None)
            await asyncio.sleep(PAUSE)
        except Exception:
            log.exception("a log cannot be followed; it is tried again", tool=tool, service=service)
            self._ended.pop(container, None)
            await asyncio.sleep(LOOK_AGAIN)
        self.changed.set()

    async def _leave_all(self) -> None:
        await abandon(*self._following.values())
        self._ended.clear()


class Mark(NamedTuple):
    """Where in the log of which container; `str` is what is kept of it."""

    place: LogPosition
    container: str

    def __str__(self) -> str:
        return f"{self.place}.{self.container[:SHORT]}"


def _position(mark: str | None, container: str) -> LogPosition | None:
    """In a container that came in the place of the one that was read last, from the time on where that one stood."""
    if mark is None:
        return None
    try:
        at, lines, *known = mark.split(".")
        return LogPosition(int(at), int(lines) if known in ([], [container[:SHORT]]) else 0)
    except ValueError:
        log.error("a log is read from its beginning: what stands last in LOGS says of no place in it", mark=mark[:100])
        return None
