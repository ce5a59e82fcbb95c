"""The engine itself goes down, as when it is updated or its host fails: afterwards everything runs that should.

Part of `make chaos`, since it starts an engine of its own: that takes root, and the engine's program on this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from deploy.setup.images import BUSYBOX
from tests.support.own_engine import OwnEngine
from tests.support.platform import Platform, split_platform
from tests.support.platform_checks import nothing_waits, succeeded
from tests.support.platform_stacks import installed, serves, stack, waits
from tests.support.platform_tools import web
from tests.support.platform_waiting import until

PATIENCE = 90.0


@dataclass(frozen=True)
class Host:
    engine: OwnEngine
    platform: Platform


@pytest.fixture(scope="module")
async def host(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Host]:
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(OwnEngine(BUSYBOX))
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        environment.setenv("DOCKER_HOST", engine.address)
        platform = await stack.enter_async_context(split_platform(tmp_path_factory.mktemp("host"), orchestrator=2))
        yield Host(engine, platform)
        assert platform.complaints() == []


@pytest.mark.parametrize("how", ["terminated", "killed"])
async def test_an_engine_that_comes_back_runs_what_should_run_and_nothing_else(host: Host, how: str) -> None:
    platform = host.platform
    one, install = await installed(platform, web())
    services = {"web": serves("x", ports=["8080"]), "worker": waits(scale=2)}
    several, stacked = await installed(platform, stack(services))
    stopped, down = await installed(platform, web())
    await succeeded(platform, await platform.api.stop(stopped))
    left, by_hand = await installed(platform, web())
    await platform.hand.stop(by_hand.tool)

    async def is_left() -> bool:
        return "stopped by hand" in ((await platform.api.tool(left))["reason"] or "")

    await until(is_left, "it is seen to be stopped by hand", PATIENCE)
    await (host.engine.terminate() if how == "terminated" else host.engine.kill())

    async def unknown() -> bool:
        return (await platform.api.tool(one))["state"] == "unknown"

    await until(unknown, "it is seen that the engine is away", PATIENCE)
    await host.engine.start()

    async def states() -> bool:
        shown = [(await platform.api.tool(name))["state"] for name in (one, several, stopped, left)]
        running = [len(await platform.hand.running(each.tool)) for each in (install, stacked, down, by_hand)]
        return (shown, running) == (["running", "running", "stopped", "failed"], [1, 3, 0, 0])

    await until(states, "all runs that should, and nothing else", PATIENCE)
    await nothing_waits(platform)
    assert await is_left()


async def test_a_container_that_the_engine_stops_as_it_goes_down_was_stopped_by_nobody_s_hand(host: Host) -> None:
    """Though it tells of that as of any other stop: one that it cannot bring back by itself is started all the same."""
    platform = host.platform
    name, install = await installed(platform, web())
    container = (await platform.hand.inspect(install.tool))["Id"]
    policy: Any = {"Name": "no"}
    await asyncio.to_thread(platform.hand.sdk.update_container, container, restart_policy=policy)
    await host.engine.terminate()
    await host.engine.start()
    await until(lambda: platform.hand.running(install.tool), f"{name} runs again", PATIENCE)
