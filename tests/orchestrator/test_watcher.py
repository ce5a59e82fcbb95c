"""The watcher says what it sees for as long as it runs, and runs whatever becomes of the engine and of NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import pytest
from nats.js.api import DiscardPolicy

from libs.contracts.engines import EngineConnected, EngineLost, ToolObserved
from libs.contracts.envelope import Message
from libs.contracts.streams import EVENTS, STATES
from libs.contracts.subjects import ENGINE, TOOL_ENGINE
from libs.contracts.tools import Tool, ToolRecorded, ToolState
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.states import States
from services.orchestrator.domain import saying
from services.orchestrator.domain.specs import ContainerSpec
from services.orchestrator.reconciler import Reconciler
from services.orchestrator.watcher import Watcher
from tests.bus.sketch import tool
from tests.orchestrator.behaviours import IMAGE
from tests.orchestrator.fake_engine import FakeContainer, FakeContainers, FakeEngine, FakeFeed
from tests.support.stage import Stage, eventually, staged

INSTANCE = "abcdefgh"


@dataclass
class Watched:
    """An engine in memory with one tool that is known, and a watcher at work."""

    stage: Stage
    bus: Bus
    engine: FakeEngine
    tool: Tool
    watcher: Watcher

    async def said(self, subject: str) -> list[Message | None]:
        return [kept.message() async for kept in self.stage.witness.each(EVENTS, subject)]

    async def said_of_the_engine(self) -> list[type]:
        return [type(each) for each in await self.said(ENGINE.filter())]

    async def said_of_the_tool(self, tool: Tool | None = None) -> list[ToolObserved]:
        heard = await self.said(TOOL_ENGINE.build({"tool": (tool or self.tool).id}))
        return [each for each in heard if isinstance(each, ToolObserved)]

    async def runs(self, tool: Tool | None = None) -> FakeContainer:
        about = tool or self.tool
        placed = await self.watcher.containers.start(ContainerSpec(INSTANCE, about.id, about.release.id, IMAGE))

        async def told() -> bool:
            return any(each.action == "start" for each in await self.said_of_the_tool(about))

        await eventually(told, "its start is told")
        return next(each for each in self.engine.containers if each.id == placed.container_id)

    async def flaps(self, container: FakeContainer, times: int) -> None:
        """Its health goes back and forth, and each change is seen by itself; the last one says unhealthy."""
        for left in reversed(range(times)):
            looked = self.engine.calls.count("observe")
            container.health = "healthy" if left % 2 else "unhealthy"
            self.engine.happened(container, "health_status")
            await eventually(lambda looked=looked: self.engine.calls.count("observe") > looked, "it is looked at")

    async def told_last(self, health: str) -> None:
        async def told() -> bool:
            last = (await self.said_of_the_tool())[-1]
            return [each.health for each in last.services] == [health]

        await eventually(told, f"it is told that it is {health}")

    async def record(self, tool: Tool, fence: int) -> None:
        recorded = ToolRecorded(tool=tool.id, fence=fence, operation="op-" + "a" * 26, state=tool)
        await self.bus.publish(STATES, recorded)


@asynccontextmanager
async def watched(ahead: int = 0) -> AsyncGenerator[Watched]:
    """`ahead`: nanoseconds by which the engine's clock is."""
    engine, lathe = FakeEngine(), tool("lathe-abcdef", "lathe")
    engine.ahead = ahead
    containers, feed = FakeContainers(engine, INSTANCE), FakeFeed(engine, INSTANCE)
    async with staged() as stage:
        bus = await stage.bus("orchestrator")
        await bus.publish(STATES, ToolRecorded(tool=lathe.id, fence=1, operation="op-" + "a" * 26, state=lathe))
        watcher = Watcher(bus, States(bus), containers, feed, Reconciler(bus, containers))
        watching = asyncio.create_task(watcher.run())
        try:
            await eventually(watcher.changed.is_set, "it has looked at everything", 60)
            yield Watched(stage, bus, engine, lathe, watcher)
            assert not watching.done(), "the watcher broke"
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def test_what_does_not_change_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the engine having gone or come, and after all that was said before is forgotten."""
    monkeypatch.setattr("services.orchestrator.watcher.SAID_AGAIN", 0.2)
    async with watched() as it:

        async def again() -> bool:
            return any(each.action == "seen again" for each in await it.said_of_the_tool())

        await eventually(again, "it is said again")
        first = await it.said_of_the_tool()
        assert [each.action for each in first][:1] == ["connected"]
        async with it.stage.connected("platform") as platform:
            await platform.jetstream.purge_stream(EVENTS.name)
        await eventually(again, "it is said after everything was forgotten")
        assert (await it.said_of_the_tool())[-1].state == first[0].state
        assert EngineConnected not in await it.said_of_the_engine()


async def test_an_engine_lost_while_nobody_can_be_told_is_told_of_once_somebody_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with watched() as it:
        monkeypatch.setattr(it.bus, "publish", partial(it.bus.publish, patience=0.2))
        said = asyncio.Event()
        monkeypatch.setattr(
            "services.orchestrator.watcher.log.warning", lambda text, **_: text[:6] == "nobody" and said.set()
        )
        await it.stage.server.kill()
        it.engine.away = True
        async with asyncio.timeout(60):
            await said.wait()
        await it.stage.server.start()

        async def told() -> bool:
            return await it.said_of_the_engine() == [EngineConnected, EngineLost]

        await eventually(told, "the loss is told", 60)
        it.engine.away = False

        async def back() -> bool:
            return await it.said_of_the_engine() == [EngineConnected, EngineLost, EngineConnected]

        await eventually(back, "its return is told", 60)


async def test_what_happened_while_the_stream_took_nothing_is_told_when_it_does_again() -> None:
    """As of a disk that is full."""
    async with watched() as it, it.stage.connected("platform") as platform:
        config = (await platform.jetstream.stream_info(EVENTS.name)).config
        await platform.jetstream.update_stream(config.evolve(max_bytes=1, discard=DiscardPolicy.NEW))
        await it.watcher.containers.start(ContainerSpec(INSTANCE, it.tool.id, it.tool.release.id, IMAGE))
        await eventually(lambda: it.watcher.version is None, "it is refused", 60)
        await platform.jetstream.update_stream(config)

        async def told() -> bool:
            return [each.services[0].state for each in (await it.said_of_the_tool())[-1:] if each.services] == [
                "running"
            ]

        await eventually(told, "it is told that it runs", 60)


@pytest.mark.parametrize("ahead", [-3600, 0, 3600])
async def test_an_engine_is_heard_whatever_its_clock_shows_and_when_it_is_set_back(ahead: int) -> None:
    async with watched(ahead * 10**9) as it:

        async def told(action: str) -> bool:
            return any(each.action == action for each in await it.said_of_the_tool())

        await it.watcher.containers.start(ContainerSpec(INSTANCE, it.tool.id, it.tool.release.id, IMAGE))
        await eventually(lambda: told("start"), "its start is told")
        it.engine.ahead -= 3600 * 10**9
        it.engine.end(it.engine.of(INSTANCE)[0], 1)
        await eventually(lambda: told("die"), "its end is told")


async def test_of_a_container_that_may_be_somebody_s_nothing_is_said_and_the_tool_is_looked_at() -> None:
    async with watched() as it:

        async def told(action: str) -> bool:
            return any(each.action == action for each in await it.said_of_the_tool())

        spec = ContainerSpec(INSTANCE, it.tool.id, it.tool.release.id, IMAGE)
        await it.watcher.containers.start(spec)
        await eventually(lambda: told("start"), "its start is told")
        observed = it.engine.calls.count("observe")
        it.engine.happened(FakeContainer("f" * 64, spec, None, doubtful=True), "oom")
        await eventually(lambda: it.engine.calls.count("observe") > observed, "it is looked at")
        it.engine.end(it.engine.of(INSTANCE)[0], 1)
        await eventually(lambda: told("die"), "its own end is told")
        assert not await told("oom")


async def test_a_tool_that_goes_back_and_forth_by_itself_is_told_of_so_often_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever reads finds what neighbours did: what all tools say is kept in one place, and has an end."""
    monkeypatch.setattr(saying, "EVERY", 3600.0)
    async with watched() as it:
        container = await it.runs()
        first = len(await it.said_of_the_tool())
        await it.flaps(container, saying.AT_ONCE - first)
        await it.told_last("unhealthy")
        told = len(await it.said_of_the_tool())
        assert told > saying.AT_ONCE - 5, "the first changes are told at once"
        await it.flaps(container, 3 * saying.AT_ONCE)
        assert len(await it.said_of_the_tool()) <= saying.AT_ONCE + first

        mill = tool("mill-abcdef", "mill")
        await it.record(mill, 1)
        await it.runs(mill)


async def test_of_a_tool_that_goes_back_and_forth_the_newest_state_is_told_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(saying, "AT_ONCE", 3)
    monkeypatch.setattr(saying, "FOR_EACH", 0)
    monkeypatch.setattr(saying, "EVERY", 2.0)
    async with watched() as it:
        container = await it.runs()
        await it.flaps(container, 9)
        await it.told_last("unhealthy")
        await it.flaps(container, 6)
        container.health = "healthy"
        it.engine.happened(container, "health_status")
        await it.told_last("healthy")


async def test_what_an_operation_or_a_person_did_is_told_at_once_also_of_a_tool_that_goes_back_and_forth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(saying, "EVERY", 3600.0)
    async with watched() as it:
        running = it.tool.model_copy(update={"state": ToolState.RUNNING, "desired": "running"})
        await it.record(running, 2)
        container = await it.runs()
        await it.flaps(container, 2 * saying.AT_ONCE)
        container.health = "healthy"
        await it.record(running, 3)
        await it.told_last("healthy")
        it.engine.kill(container)

        async def told() -> bool:
            return (await it.said_of_the_tool())[-1].by_hand == (container.id,)

        await eventually(told, "it is told who ended it")
