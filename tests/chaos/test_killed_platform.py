"""kill -9 of the whole platform, NATS included, in the middle of everything; started again on the same data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from libs.contracts.operations import OperationCancelled
from tests.chaos.test_killed_services import under_way
from tests.support.platform import Platform, whole_platform
from tests.support.platform_api import Accepted
from tests.support.platform_checks import assert_one_end, counted, fresh, nothing_waits, succeeded
from tests.support.platform_process import belonging_to, said_by_machine
from tests.support.platform_tools import builds_for_ever, sleeping, web
from tests.support.platform_waiting import until


@pytest.fixture(scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    async with whole_platform(tmp_path_factory.mktemp("killed")) as platform:
        yield platform
        assert platform.complaints() == []


async def kill(platform: Platform) -> None:
    """Returns when it is gone, and all that belonged to it: NATS, Git, BuildKit's client."""
    around = belonging_to(platform.data)
    assert any("nats-server" in words for words in around.values()), around
    await platform.processes["machete"].kill()
    await until(lambda: not belonging_to(platform.data), "no process of the killed platform is left")


async def test_a_killed_platform_leaves_no_process_and_goes_on_where_it_was(platform: Platform) -> None:
    with platform.hand.watching() as happened:
        just_ended = await platform.api.install(fresh("ended"), platform.forge.tool("web", web()), start=True)
        async with under_way(platform) as installs:
            name = installs.starting.body["operation"]["tool_name"]
            waiting = [await platform.api.stop(name), await platform.api.start(name)]
            ended = await platform.ended(just_ended)
            words = " ".join(belonging_to(platform.data).values())
            assert "git" in words
            assert "buildx" in words
            await kill(platform)
            await platform.start()
        await succeeded(platform, just_ended, *installs.all, *waiting)
        await nothing_waits(platform)
    assert (await platform.record(just_ended)).ended == ended
    tools = [just_ended.tool, *(each.tool for each in installs.all)]
    assert counted(happened, "create") == dict.fromkeys(tools, 1)
    for tool in tools:
        assert len(await platform.hand.running(tool)) == 1
    shown = (await platform.api.get("/api/v1/tools", limit=500))["tools"]
    assert {each["id"]: each["state"] for each in shown if each["id"] in tools} == dict.fromkeys(tools, "running")


async def test_an_install_cancelled_just_before_the_platform_was_killed_leaves_nothing(platform: Platform) -> None:
    mark = sleeping()
    url = platform.forge.tool(fresh("for-ever"), builds_for_ever(mark))
    install = await platform.api.install(fresh("for-ever"), url)
    await until(lambda: said_by_machine(mark), "the build runs on the engine")
    await platform.api.cancel(install.operation)
    await kill(platform)
    await until(lambda: not said_by_machine(mark), "the build has ended on the engine")
    await platform.start()
    ended = await platform.ended(install)
    assert isinstance(ended, OperationCancelled), ended
    assert_one_end(await platform.record(install))
    await platform.is_gone(install.tool)


async def test_killed_again_and_again_no_command_is_lost_and_none_is_done_twice(platform: Platform) -> None:
    url = platform.forge.tool("web", web())
    lanes: list[list[Accepted]] = []
    with platform.hand.watching() as happened:
        for _ in range(3):
            names = [fresh("storm") for _ in range(3)]
            lanes += [
                [await platform.api.install(name, url, start=True), await platform.api.uninstall(name)]
                for name in names
            ]
            await asyncio.sleep(0.4)
            await kill(platform)
            await platform.start()
        for lane in lanes:
            await succeeded(platform, *lane)
            await platform.is_gone(lane[0].tool)
        await nothing_waits(platform)
    assert set(counted(happened, "create").values()) == {1}
    assert counted(happened, "create") == counted(happened, "destroy")


async def test_tools_run_on_while_the_platform_is_dead_and_are_known_again_after_it(platform: Platform) -> None:
    url = platform.forge.tool("web", web())
    installs = [await platform.api.install(fresh("runs"), url, start=True) for _ in range(2)]
    await succeeded(platform, *installs)
    alive, killed = (each.tool for each in installs)
    before = (await platform.hand.inspect(alive))["State"]["StartedAt"]
    await kill(platform)
    await platform.hand.kill(killed)
    await platform.start()
    await until(lambda: platform.hand.running(killed), "what should run and does not is started again")
    assert (await platform.hand.inspect(alive))["State"]["StartedAt"] == before


async def test_a_stop_in_order_ends_with_zero_and_leaves_what_is_worked_on_to_the_next_life(
    platform: Platform,
) -> None:
    async with under_way(platform) as installs:
        assert await platform.processes["machete"].terminate() == 0
        await until(lambda: not belonging_to(platform.data), "no process of the stopped platform is left")
        await platform.start()
    await succeeded(platform, *installs.all)
    await nothing_waits(platform)
