"""Sees what happens to tools on the engine, whoever did it, and says it on the bus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from libs.contracts.engines import EngineConnected, EngineLost, ToolObserved
from libs.contracts.problems import Failure
from libs.contracts.streams import EVENTS
from libs.contracts.subjects import STATE
from libs.contracts.tools import ServiceStatus, Tool, ToolState
from libs.runtime.bus.connection import Bus, Unavailable
from libs.runtime.bus.states import States
from services.orchestrator.domain.engine_events import EngineEvent
from services.orchestrator.domain.failures import EngineAway
from services.orchestrator.domain.observations import Observation
from services.orchestrator.domain.plan import as_seen
from services.orchestrator.ports import Containers, Feed
from services.orchestrator.reconciler import Reconciler

log = structlog.get_logger(__name__)

RETRY = 0.5
# Seconds. EVENTS keep what was seen for weeks, not for ever: what has not changed since is said again.
SAID_AGAIN = 86_400.0
RECORDED, AGAIN = "recorded", "seen again"


@dataclass(frozen=True)
class Glance:
    """Why to look at a tool; `id` is the same for every replica that has the same reason."""

    tool: str
    action: str
    id: str
    container: str | None = None


@dataclass
class Watcher:
    """`changed` is set whenever containers may have come or gone; `engine` is None while the engine is away."""

    bus: Bus
    states: States
    containers: Containers
    feed: Feed
    reconciler: Reconciler
    name: str = "local"
    version: str | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _glances: asyncio.Queue[Glance] = field(default_factory=asyncio.Queue[Glance])

    async def run(self) -> None:
        async with self.bus.listening(STATE.filter(), lambda message: self._recorded(message.subject)):
            while True:
                try:
                    await self._while_connected()
                except* EngineAway as away:
                    await self._lost(str(away.exceptions[0]))
                except* Unavailable as outage:
                    self.version = None
                    log.warning("nobody can be told; everything is looked at again", problem=str(outage.exceptions[0]))
                await asyncio.sleep(RETRY)

    async def _while_connected(self) -> None:
        since = time.time_ns()
        version = await self.feed.ping()
        await self._connected(version)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_on())
            group.create_task(self._say_again())
            async with aclosing(self.feed.events(since)) as events:
                async for event in events:
                    self._happened(event)

    async def _connected(self, version: str) -> None:
        """Everything is looked at anew: what happened while nobody watched is in no event."""
        now = datetime.now(UTC)
        log.info("engine connected", version=version)
        await self.bus.publish(EVENTS, EngineConnected(engine=self.name, version=version, observed_at=now))
        self.version = version
        seen = await self.containers.observe_all()
        for recorded in await self.states.all():
            if recorded.state is not None:
                observation = seen.get(recorded.tool) or Observation(recorded.tool, (), now)
                await self._say(recorded.state, recorded.fence, observation, "connected", None)
        await self.reconciler.reconcile(seen)
        self.changed.set()

    async def _say_again(self) -> None:
        """In its turn, as any other look: what is said last of a tool must be what was seen last."""
        while True:
            await asyncio.sleep(SAID_AGAIN)
            for recorded in await self.states.all():
                self._glances.put_nowait(Glance(recorded.tool, AGAIN, ""))

    async def _lost(self, reason: str) -> None:
        if self.version is None:
            return
        self.version = None
        log.warning("engine lost", reason=reason)
        lost = EngineLost(engine=self.name, reason=reason, observed_at=datetime.now(UTC))
        await self.bus.publish(EVENTS, lost)

    def _happened(self, event: EngineEvent) -> None:
        self.changed.set()
        self._glances.put_nowait(Glance(event.tool, event.action, event.identity, event.container))

    def _recorded(self, subject: str) -> None:
        """An operation ended: what was judged by the record before it may have to be judged again."""
        tool = STATE.parse(subject)["tool"]
        self._glances.put_nowait(Glance(tool, RECORDED, ""))

    async def _look_on(self) -> None:
        while True:
            for glance in _last_of_each(await self._waiting()):
                try:
                    await self._look(glance)
                except EngineAway:
                    raise
                except Failure as problem:
                    log.warning("a tool cannot be looked at", tool=glance.tool, problem=problem.message)

    async def _waiting(self) -> list[Glance]:
        """All there are, at least one."""
        glances = [await self._glances.get()]
        while not self._glances.empty():
            glances.append(self._glances.get_nowait())
        return glances

    async def _look(self, glance: Glance) -> None:
        tool, fence = await self.states.judged(glance.tool)
        if tool is None:
            return
        seen = await self.containers.observe(glance.tool)
        if glance.action == RECORDED and _as_shown(_judged(tool, seen)) == _as_shown(tool):
            return
        await self._say(tool, fence, seen, glance.action, glance)

    async def _say(self, tool: Tool, fence: int, seen: Observation, action: str, glance: Glance | None) -> None:
        judged = _judged(tool, seen)
        observed = ToolObserved(
            tool=tool.id,
            state=judged.state,
            reason=judged.reason,
            services=judged.services,
            container=glance.container if glance else None,
            action=action,
            judged_by=fence,
            observed_at=seen.observed_at,
        )
        id = glance.id if glance and glance.id else None
        await self.bus.publish(EVENTS, observed, id=id)


def _last_of_each(glances: Iterable[Glance]) -> list[Glance]:
    """Whatever happened to a tool meanwhile, one look shows all of it; what the engine did is said in any case."""
    last: dict[str, Glance] = {}
    for glance in glances:
        if glance.action not in (RECORDED, AGAIN) or glance.tool not in last:
            last[glance.tool] = glance
    return list(last.values())


def _as_shown(tool: Tool) -> tuple[ToolState, str | None, tuple[ServiceStatus, ...]]:
    """What is said of a tool's containers: the record of a start that failed has them as they were before it."""
    return tool.state, tool.reason, tool.services


def _judged(tool: Tool, seen: Observation) -> Tool:
    failure = tool.reason if tool.state is ToolState.FAILED and tool.desired == "stopped" else None
    return as_seen(tool, seen, tool.desired, failure)
