"""What was seen of a tool is said again before the stream forgets it."""

from __future__ import annotations

import asyncio

import pytest

from libs.contracts.engines import EngineConnected, ToolObserved
from libs.contracts.streams import EVENTS, STATES
from libs.contracts.subjects import ENGINE, TOOL_ENGINE
from libs.contracts.tools import ToolRecorded
from libs.runtime.bus.states import States
from services.orchestrator.reconciler import Reconciler
from services.orchestrator.watcher import Watcher
from tests.bus.sketch import tool
from tests.orchestrator.fake_engine import FakeContainers, FakeEngine, FakeFeed
from tests.support.stage import eventually, staged

INSTANCE = "abcdefgh"


async def test_what_does_not_change_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the engine having gone or come, and after all that was said before is forgotten."""
    monkeypatch.setattr("services.orchestrator.watcher.SAID_AGAIN", 0.2)
    engine, lathe = FakeEngine(), tool("lathe-abcdef", "lathe")
    containers, feed = FakeContainers(engine, INSTANCE), FakeFeed(engine, INSTANCE)
    async with staged() as stage:
        bus = await stage.bus("orchestrator")
        recorded = ToolRecorded(tool=lathe.id, fence=1, operation="op-" + "a" * 26, state=lathe)
        await bus.publish(STATES, recorded)
        states = States(bus)
        watching = asyncio.create_task(Watcher(bus, states, containers, feed, Reconciler(bus, containers)).run())

        async def said() -> list[ToolObserved]:
            subject = TOOL_ENGINE.build({"tool": lathe.id})
            heard = [kept.message() async for kept in bus.each(EVENTS, subject)]
            return [message for message in heard if isinstance(message, ToolObserved)]

        async def again() -> bool:
            return any(each.action == "seen again" for each in await said())

        try:
            await eventually(again, "it is said again")
            first = await said()
            assert [each.action for each in first][:1] == ["connected"]
            async with stage.connected("platform") as platform:
                await platform.jetstream.purge_stream(EVENTS.name)
            await eventually(again, "it is said after everything was forgotten")
            assert (await said())[-1].state == first[0].state
            connected = [kept.message() async for kept in bus.each(EVENTS, ENGINE.filter())]
            assert not any(isinstance(message, EngineConnected) for message in connected)
        finally:
            watching.cancel()
