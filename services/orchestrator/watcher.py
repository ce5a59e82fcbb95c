"""Sees what happens to tools on the engine, whoever did it, and says it on the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from libs.contracts.engines import EngineConnected, EngineLost, ToolObserved
from libs.contracts.envelope import new_message_id
from libs.contracts.problems import Failure
from libs.contracts.streams import EVENTS
from libs.contracts.subjects import STATE
from libs.contracts.tools import ServiceStatus, Tool, ToolState
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Refused, Unavailable
from libs.runtime.bus.states import States
from libs.runtime.cancellation import lasting
from services.orchestrator.domain.engine_events import EngineEvent
from services.orchestrator.domain.failures import EngineAway
from services.orchestrator.domain.observations import Observation
from services.orchestrator.domain.saying import Allowance
from services.orchestrator.ports import Containers, Feed
from services.orchestrator.reconciler import Judged, Reconciler

log = structlog.get_logger(__name__)

RETRY = 0.5
# Seconds. EVENTS keep what was seen for weeks, not for ever: what has not changed since is said again.
SAID_AGAIN = 86_400.0
# Reasons of our own to look; what is seen then is said if it is news, or, of the last, in any case.
RECORDED, LOOKED, AGAIN = "recorded", "looked over", "seen again"
OWN = (RECORDED, LOOKED, AGAIN)


@dataclass(frozen=True)
class Glance:
    """Why to look at a tool; `id` is the same for every replica that has the same reason."""

    tool: str
    action: str
    id: str
    container: str | None = None


Shown = tuple[ToolState, str | None, tuple[ServiceStatus, ...]]


@dataclass(frozen=True)
class Said:
    """What was said of a tool last, and as of which record of it."""

    fence: int
    shown: Shown
    by_hand: tuple[str, ...]


@dataclass
class Held:
    """A reason to look that waits, until something may be said of its tool again; the newest one there is."""

    glance: Glance
    timer: asyncio.TimerHandle


@dataclass
class Watcher:
    """`changed` is set whenever containers may have come or gone; `engine` is None while the engine is away.

    `interval` is the pause between two looks at everything, in seconds: for what no event told.
    """

    bus: Bus
    states: States
    containers: Containers
    feed: Feed
    reconciler: Reconciler
    name: str = "local"
    interval: float = 60.0
    version: str | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _glances: asyncio.Queue[Glance] = field(default_factory=asyncio.Queue[Glance])
    _said: dict[str, Said] = field(default_factory=dict[str, Said])
    _said_connected: bool = False
    _loss: tuple[str, EngineLost] | None = None
    _due: dict[str, asyncio.TimerHandle] = field(default_factory=dict[str, asyncio.TimerHandle])
    _allowance: Allowance = field(default_factory=Allowance)
    _held: dict[str, Held] = field(default_factory=dict[str, Held])

    async def run(self) -> None:
        async with self.bus.listening(STATE.filter(), lambda message: self._recorded(message.subject)):
            while True:
                try:
                    await self._say_lost()
                    await self._while_connected()
                except* EngineAway as away:
                    self.reconciler.lost()
                    self._lost(str(away.exceptions[0]))
                except* (Unavailable, Refused) as outage:
                    self.version = None
                    log.warning("nobody can be told; everything is looked at again", problem=str(outage.exceptions[0]))
                await asyncio.sleep(RETRY)

    async def _while_connected(self) -> None:
        since = await self.feed.now()
        version = await self.feed.ping()
        await self._connected(version)
        async with asyncio.TaskGroup() as group:
            for part in (self._look_on(), self._say_again(), self._look_over()):
                group.create_task(lasting(part))
            async with aclosing(self.feed.events(since)) as events:
                async for event in events:
                    self._happened(event)

    async def _connected(self, version: str) -> None:
        """Everything is looked at anew: what happened while nobody watched is in no event."""
        now = datetime.now(UTC)
        log.info("engine connected", version=version)
        self._said_connected = True  # also where nobody acknowledges it: it may have been stored
        await self.bus.publish(EVENTS, EngineConnected(engine=self.name, version=version, observed_at=now))
        self.version = version
        async for judged, seen in self._everything():
            await self._say(judged, seen, "connected", None)
            if judged.drift is not None:
                self._glances.put_nowait(Glance(judged.tool.id, LOOKED, ""))
        self.changed.set()

    async def _look_over(self) -> None:
        """What is not as it was said, or is to be started, is looked at in its turn."""
        while True:
            await asyncio.sleep(self.interval)
            try:
                async for judged, _ in self._everything():
                    if judged.drift is not None or self._is_news(judged):
                        self._glances.put_nowait(Glance(judged.tool.id, LOOKED, ""))
            except EngineAway:
                raise
            except Failure as problem:
                log.warning("the tools cannot be looked over", problem=problem.message)

    async def _everything(self) -> AsyncGenerator[tuple[Judged, Observation]]:
        """All tools as the engine lists them, in one call; what is left of those that are gone is cleared away."""
        now = datetime.now(UTC)
        seen = await self.containers.observe_all()
        states = await self.states.all()
        await self._clear({recorded.tool for recorded in states if recorded.state is None})
        for recorded in states:
            if recorded.state is not None:
                observation = seen.get(recorded.tool) or Observation(recorded.tool, (), now)
                yield await self.reconciler.judge(recorded.state, recorded.fence, observation), observation

    async def _clear(self, gone: set[str]) -> None:
        for tool in gone:
            self.reconciler.forget(tool)
        if gone:
            for tool in gone & await self.containers.owning():
                await self.reconciler.clear(tool)

    async def _say_again(self) -> None:
        """In its turn, as any other look: what is said last of a tool must be what was seen last."""
        while True:
            await asyncio.sleep(SAID_AGAIN)
            for recorded in await self.states.all():
                self._glances.put_nowait(Glance(recorded.tool, AGAIN, ""))

    def _lost(self, reason: str) -> None:
        """Takes note of it alone: whoever is to be told may be away as well, and is told in the next turn."""
        self.version = None
        if self._loss is None and self._said_connected:
            log.warning("engine lost", reason=reason)
            lost = EngineLost(engine=self.name, reason=reason, observed_at=datetime.now(UTC))
            self._loss = new_message_id(), lost

    async def _say_lost(self) -> None:
        """Under one id, however often it is tried: what seemed lost on its way may arrive in the end."""
        if self._loss is not None:
            id, lost = self._loss
            await self.bus.publish(EVENTS, lost, id=id)
            self._loss, self._said_connected = None, False

    def _happened(self, event: EngineEvent) -> None:
        self.reconciler.heard(event)
        if event.action == "kill":
            return  # what becomes of it is told by the events that follow
        self.changed.set()
        if event.doubtful:  # it may be somebody's own container, of which nothing is to be said
            self._glances.put_nowait(Glance(event.tool, LOOKED, ""))
        else:
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
        """Its record is read first: what is seen after that is never older than what is wanted."""
        tool, fence = await self.states.judged(glance.tool)
        if tool is None:
            self._forget(glance.tool)
            return
        seen = await self.containers.observe(glance.tool)
        judged = await self.reconciler.judge(tool, fence, seen)
        is_said = glance.action not in (RECORDED, LOOKED) or self._is_news(judged)
        if is_said and self._may_be_said(judged, seen, glance):
            await self._say(judged, seen, glance.action, glance)
        await self.reconciler.act(judged, seen)
        self._wake_when_due(judged, seen)

    def _is_news(self, judged: Judged) -> bool:
        """Whether it is not what was said last: by us, or since then by the record, as of before its operation."""
        said = self._said.get(judged.tool.id)
        before = said.shown if said is not None and said.fence == judged.fence else _as_shown(judged.tool)
        return _as_shown(judged.shown) != before

    def _may_be_said(self, judged: Judged, seen: Observation, glance: Glance) -> bool:
        """Now; else it is looked at again when it may: a tool can go back and forth by itself, thousands of times.

        What an operation or a person did is said in any case: nobody does so much.
        """
        tool, said = glance.tool, self._said.get(glance.tool)
        if glance.action in (RECORDED, AGAIN) or judged.by_hand != (said.by_hand if said is not None else ()):
            return True
        loop = asyncio.get_running_loop()
        pause = self._allowance.pause(tool, len(seen.services), loop.time())
        if pause and (held := self._held.get(tool)) is not None:
            (held.glance,) = _last_of_each([held.glance, glance])
        elif pause:
            self._held[tool] = Held(glance, loop.call_later(pause, self._let_go, tool))
        return not pause

    def _let_go(self, tool: str) -> None:
        self._glances.put_nowait(self._held.pop(tool).glance)

    async def _say(self, judged: Judged, seen: Observation, action: str, glance: Glance | None) -> None:
        shown = judged.shown
        observed = ToolObserved(
            tool=shown.id,
            state=shown.state,
            reason=shown.reason,
            services=shown.services,
            container=glance.container if glance else None,
            action=action,
            judged_by=judged.fence,
            by_hand=judged.by_hand,
            observed_at=seen.observed_at,
        )
        id = glance.id if glance and glance.id else None
        await self.bus.publish(EVENTS, observed, id=id)
        self._said[shown.id] = Said(judged.fence, _as_shown(shown), judged.by_hand)

    def _wake_when_due(self, judged: Judged, seen: Observation) -> None:
        """A start that is not due yet is looked at again when it is."""
        tool = judged.tool.id
        if (waiting := self._due.pop(tool, None)) is not None:
            waiting.cancel()
        if judged.drift is not None and judged.drift.due is not None and judged.drift.due > seen.observed_at:
            pause = (judged.drift.due - seen.observed_at).total_seconds()
            loop = asyncio.get_running_loop()
            self._due[tool] = loop.call_later(pause, self._glances.put_nowait, Glance(tool, LOOKED, ""))

    def _forget(self, tool: str) -> None:
        self.reconciler.forget(tool)
        self._said.pop(tool, None)
        self._allowance.forget(tool)
        if (held := self._held.pop(tool, None)) is not None:
            held.timer.cancel()
        if (waiting := self._due.pop(tool, None)) is not None:
            waiting.cancel()


def _last_of_each(glances: Iterable[Glance]) -> list[Glance]:
    """Whatever happened to a tool meanwhile, one look shows all of it; what the engine did is said in any case."""
    last: dict[str, Glance] = {}
    for glance in glances:
        if glance.action not in OWN or glance.tool not in last:
            last[glance.tool] = glance
    return list(last.values())


def _as_shown(tool: Tool) -> Shown:
    """What is said of a tool's containers: the record of a start that failed has them as they were before it."""
    return tool.state, tool.reason, tool.services
