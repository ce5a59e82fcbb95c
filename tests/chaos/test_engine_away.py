"""The engine gone and back: the platform stays up, says so, keeps what it accepted, and goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from libs.contracts.engines import EngineConnected, EngineLost
from libs.contracts.streams import EVENTS
from libs.contracts.subjects import ENGINE
from tests.support.platform import Platform, split_platform
from tests.support.platform_api import Accepted
from tests.support.platform_checks import counted, fresh, in_order, nothing_waits, succeeded
from tests.support.platform_proxy import EngineProxy
from tests.support.platform_tools import gated, waits_for_go, web
from tests.support.platform_waiting import until


@dataclass(frozen=True)
class Away:
    platform: Platform
    engine: EngineProxy

    async def degraded(self) -> bool:
        async with self.platform.api_of("orchestrator") as api:
            health = await api.health()
        check = health["services"]["orchestrator"]["checks"]["engine"]
        return health["status"] == "degraded" and health["ready"] and not check["ok"]

    async def is_lost(self) -> None:
        await self.engine.cut()
        await until(self.degraded, "health says that the engine is away")

    async def is_back(self) -> None:
        await self.engine.mend()

        async def well() -> bool:
            return not await self.degraded()

        await until(well, "health says that the engine is back")


@pytest.fixture(scope="module")
async def away(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Away]:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(EngineProxy(tmp_path_factory.mktemp("line") / "engine.sock"))
        environment = {"DOCKER_HOST": proxy.address}
        platform = await stack.enter_async_context(
            split_platform(tmp_path_factory.mktemp("away"), environment=environment)
        )
        yield Away(platform, proxy)
        assert platform.complaints() == []


async def running(away: Away) -> Accepted:
    install = await away.platform.api.install(fresh("tool"), away.platform.forge.tool("web", web()), start=True)
    await succeeded(away.platform, install)
    return install


def name_of(accepted: Accepted) -> str:
    return accepted.body["operation"]["tool_name"]


async def test_while_the_engine_is_away_tools_are_unknown_and_accepted_commands_wait(away: Away) -> None:
    platform = away.platform
    install = await running(away)
    name = name_of(install)
    await away.is_lost()

    async def state() -> str:
        return (await platform.api.tool(name))["state"]

    async def is_unknown() -> bool:
        return await state() == "unknown"

    async def is_running() -> bool:
        return await state() == "running"

    await until(is_unknown, "the tool's state is unknown")
    assert (await platform.api.tool(name))["reason"]
    sent = [await platform.api.stop(name), await platform.api.start(name)]
    more = await platform.api.install(fresh("new"), platform.forge.tool("web", web()), start=True)
    await platform.started(sent[0])
    await platform.started(more)
    shown = await platform.api.get(f"/api/v1/operations/{sent[0].operation}", wait=1)
    assert shown["state"] == "running"
    await away.is_back()
    await succeeded(platform, *sent, more)
    await in_order(platform, [install, *sent])
    await until(is_running, "the tool's state is known again")
    await nothing_waits(platform)


async def test_an_engine_that_goes_away_in_the_middle_of_a_build_and_a_start_fails_neither(away: Away) -> None:
    platform, gate = away.platform, fresh("gate")
    with platform.hand.watching() as happened:
        starting = await platform.api.install(fresh("starts"), platform.forge.tool("waits", waits_for_go()), start=True)
        await until(lambda: platform.hand.running(starting.tool), "it starts")
        building = await platform.api.install(
            fresh("builds"), platform.forge.tool(gate, gated(platform.gate, gate)), start=True
        )
        await platform.gate.reached(gate)
        await away.is_lost()
        platform.let_go(starting.tool)
        platform.gate.open(gate)
        await asyncio.sleep(1)
        for each in (starting, building):
            assert (await platform.record(each)).ended is None
        await away.is_back()
        await succeeded(platform, starting, building)
        await nothing_waits(platform)
    assert counted(happened, "create") == {starting.tool: 1, building.tool: 1}
    assert counted(happened, "start") == {starting.tool: 1, building.tool: 1}


async def test_an_engine_that_goes_away_while_a_tool_starts_is_waited_for_and_breaks_nothing(away: Away) -> None:
    platform = away.platform
    install = await platform.api.install(fresh("starts"), platform.forge.tool("waits", waits_for_go()), start=True)
    await until(lambda: platform.hand.running(install.tool), "it starts")
    await asyncio.sleep(0.5)
    await away.is_lost()
    await away.is_back()
    platform.let_go(install.tool)
    await succeeded(platform, install)
    assert not [each for each in platform.complaints() if install.operation in each]


async def test_what_ended_while_the_engine_was_out_of_sight_is_seen_and_started_again(away: Away) -> None:
    """A tool that should run and does not is started, by an operation like any other."""
    platform = away.platform
    install = await running(away)
    await away.is_lost()
    await platform.hand.stop(install.tool)
    await away.is_back()
    await until(lambda: platform.hand.running(install.tool), "it runs again")
    operations = (await platform.api.get("/api/v1/operations", tool=name_of(install)))["operations"]
    assert [each["kind"] for each in operations] == ["start", "install"]
    assert operations[0]["requested_by"] == "service:orchestrator"


async def test_each_loss_and_return_of_the_engine_is_said_once(away: Away) -> None:
    platform = away.platform
    before = await said(platform)
    await away.is_lost()
    await away.is_back()

    async def both() -> bool:
        return len(await said(platform)) >= len(before) + 2

    await until(both, "loss and return are said")
    assert (await said(platform))[len(before) :] == [EngineLost, EngineConnected]


async def said(platform: Platform) -> list[type]:
    subject, found = ENGINE.build({"engine": "local"}), list[type]()
    kept = await platform.bus.next(EVENTS, subject, 1)
    while kept is not None:
        found.append(type(kept.open().data))
        kept = await platform.bus.next(EVENTS, subject, kept.sequence + 1)
    return found
