"""NATS killed -9 and started again while commands wait, are worked on, and have just ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from libs.contracts.operations import OperationEnded
from tests.chaos.test_killed_services import under_way
from tests.support.nats_server import NATS_VERSIONS
from tests.support.platform import Platform, split_platform
from tests.support.platform_api import Accepted, Refusal
from tests.support.platform_checks import assert_one_end, counted, fresh, in_order, nothing_waits, succeeded
from tests.support.platform_tools import web
from tests.support.platform_waiting import until


@pytest.fixture(scope="module", params=NATS_VERSIONS)
async def platform(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Platform]:
    async with split_platform(tmp_path_factory.mktemp("nats"), request.param, status=0) as platform:
        yield platform
        assert platform.complaints() == []


async def crash(platform: Platform, seconds: float = 0) -> None:
    assert platform.nats is not None
    await platform.nats.kill()
    await asyncio.sleep(seconds)
    await platform.nats.start()


async def test_what_waits_what_is_worked_on_and_what_has_just_ended_survive_a_killed_nats(platform: Platform) -> None:
    api = platform.api
    with platform.hand.watching() as happened:
        just_ended = await api.install(fresh("ended"), platform.forge.tool("web", web()), start=True)
        async with under_way(platform) as installs:
            waiting = [
                await api.change(action, installs.starting.body["operation"]["tool_name"])
                for action in ("stop", "start", "restart")
            ]
            ended = await platform.ended(just_ended)
            await crash(platform)
        await succeeded(platform, just_ended, *installs.all)
        await succeeded(platform, *waiting)
        await in_order(platform, [installs.starting, *waiting])
        await nothing_waits(platform)
    assert (await platform.record(just_ended)).ended == ended
    tools = [just_ended.tool, *(each.tool for each in installs.all)]
    assert counted(happened, "create") == dict.fromkeys(tools, 1)
    # Started by its install, stopped, started, stopped and started by the restart.
    assert counted(happened, "start") == {**dict.fromkeys(tools, 1), installs.starting.tool: 3}


async def test_a_request_during_an_outage_is_carried_out_once_or_refused(platform: Platform) -> None:
    """NATS dies again and again while installs and uninstalls come in: each 202 is kept, all the rest is repeatable."""
    async with short_lives(platform, 6):
        for _ in range(3):
            await crash(platform, 0.3)
            await asyncio.sleep(0.7)


async def insisting(name: str, what: Callable[..., Awaitable[Accepted]], *given: str) -> Accepted:
    """Repeats a request under one key until it is accepted, as long as it is refused because NATS does not answer."""
    while True:
        try:
            return await what(name, *given, key=f"{what.__name__}-{name}")
        except Refusal as refusal:
            if refusal.status != 503:
                raise
            await asyncio.sleep(0.1)


@asynccontextmanager
async def short_lives(platform: Platform, count: int) -> AsyncGenerator[None]:
    """Tools are installed and uninstalled by somebody who insists; at the end each was, once, and in order."""
    url = platform.forge.tool("web", web())

    async def life(name: str) -> list[Accepted]:
        installed = await insisting(name, platform.api.install, url)
        return [installed, await insisting(name, platform.api.uninstall)]

    with platform.hand.watching() as happened:
        lives = [asyncio.create_task(life(fresh("stormy"))) for _ in range(count)]
        yield
        for lane in await asyncio.gather(*lives):
            await succeeded(platform, *lane)
            await in_order(platform, lane)
            await platform.is_gone(lane[0].tool)
        await nothing_waits(platform)
    assert counted(happened, "create") == counted(happened, "destroy")
    assert set(counted(happened, "create").values()) <= {1}


async def test_what_was_cancelled_just_before_nats_died_is_undone_once_it_is_back(platform: Platform) -> None:
    async with under_way(platform) as installs:
        for each in installs.all:
            await platform.api.cancel(each.operation)
        await crash(platform)
        ended: list[OperationEnded] = [await platform.ended(each) for each in installs.all]
    assert {type(each).__name__ for each in ended} == {"OperationCancelled"}
    for each in installs.all:
        assert_one_end(await platform.record(each))
        await platform.is_gone(each.tool)
    await until(lambda: not list((platform.data / "fetches").glob("fetch-*")), "no fetch is left on disk")
    await nothing_waits(platform)
