"""Two orchestrators and two installers as separate processes, and many commands for many tools across both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest

from libs.contracts.operations import OperationStarted
from tests.support.platform import Platform, split_platform
from tests.support.platform_api import Accepted
from tests.support.platform_checks import counted, fresh, in_order, nothing_waits, succeeded
from tests.support.platform_tools import web

TOOLS = 20
AFTER_INSTALL = ("start", "restart", "stop", "start", "uninstall")
# As in earnest: with all of this on few cores, a worker may be slow without being dead.
PATIENT = {"MACHETE_ACK_WAIT": "10", "MACHETE_HEARTBEAT": "2.5", "MACHETE_WATCHDOG_BOUND": "6"}


@pytest.fixture(scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    folder = tmp_path_factory.mktemp("replicas")
    async with split_platform(
        folder, gateway=2, installer=2, orchestrator=2, status=0, environment=PATIENT
    ) as platform:
        yield platform
        assert platform.complaints() == []


async def test_twenty_tools_with_six_commands_each_are_carried_out_in_order_one_at_a_time_and_once(
    platform: Platform,
) -> None:
    url = platform.forge.tool("web", web())

    async def send(name: str) -> list[Accepted]:
        first = await platform.api.install(name, url)
        return [first, *[await platform.api.change(action, name) for action in AFTER_INSTALL]]

    with platform.hand.watching() as happened:
        begun = time.monotonic()
        lanes = await asyncio.gather(*(send(fresh("many")) for _ in range(TOOLS)))
        sent = time.monotonic()
        for lane in lanes:
            await succeeded(platform, *lane)
        print(f"{TOOLS * 6} operations: sent in {sent - begun:.1f} s, done in {time.monotonic() - begun:.1f} s")
        await nothing_waits(platform)
    for lane in lanes:
        await in_order(platform, lane)
        await in_order_by_time(platform, lane)
        await platform.is_gone(lane[0].tool)
    assert not (await platform.hand.seen()).containers
    once = dict.fromkeys((lane[0].tool for lane in lanes), 1)
    assert counted(happened, "create") == once
    assert counted(happened, "destroy") == once
    # Start, restart and start again.
    assert counted(happened, "start") == dict.fromkeys(once, 3)
    assert counted(happened, "die") == dict.fromkeys(once, 3)
    workers = {start.worker for lane in lanes for start in await starts(platform, lane)}
    assert len({worker for worker in workers if worker.startswith("orchestrator/")}) == 2
    assert len({worker for worker in workers if worker.startswith("installer/")}) == 2


async def starts(platform: Platform, lane: list[Accepted]) -> list[OperationStarted]:
    """One for each operation: none was begun twice."""
    records = [await platform.record(each) for each in lane]
    assert [len(record.starts) for record in records] == [1] * len(lane)
    return [record.starts[0][1] for record in records]


async def in_order_by_time(platform: Platform, lane: list[Accepted]) -> None:
    """Beside the sequences, which `in_order` looks at: by the clock too, which all processes here share."""
    began = [each.started_at for each in await starts(platform, lane)]
    records = [await platform.record(each) for each in lane]
    ended = [record.ended.ended_at for record in records if record.ended is not None]
    assert all(end <= begin for end, begin in zip(ended, began[1:], strict=False))


async def test_of_two_orchestrators_either_may_die_while_both_are_busy(platform: Platform) -> None:
    """Killed in turn while a dozen tools are built and started; whatever one leaves, the other takes on."""
    url = platform.forge.tool("web", web())
    installs = await asyncio.gather(*(platform.api.install(fresh("busy"), url, start=True) for _ in range(8)))
    for replica in platform.replicas("orchestrator"):
        await asyncio.sleep(0.7)
        await replica.restart()
    await succeeded(platform, *installs)
    stops = [await platform.api.uninstall(each.body["operation"]["tool_name"]) for each in installs]
    await succeeded(platform, *stops)
    await nothing_waits(platform)
    for each in installs:
        await platform.is_gone(each.tool)
