"""A worker that is stopped past its heartbeat while another one takes over, and wakes up to find that it did."""

from __future__ import annotations

import asyncio
from pathlib import Path

from libs.contracts.operations import OperationSucceeded
from tests.support.platform import Platform
from tests.support.platform_api import Accepted
from tests.support.platform_checks import assert_one_end, counted, fresh, nothing_waits, succeeded, worker_of
from tests.support.platform_process import Process, belonging_to
from tests.support.platform_tools import gated, waits_for_go, web
from tests.support.platform_waiting import until


async def owner(platform: Platform, accepted: Accepted) -> Process:
    name = await until(lambda: worker_of(platform, accepted), "somebody says that he has begun it")
    return platform.processes[name]


async def lets_go(process: Process, operation: str) -> None:
    """Returns when the woken one says that it leaves the operation alone."""
    words = ("fenced off: another worker owns this operation", "left for a later delivery")
    await until(
        lambda: any(line.get("event") in words and line.get("operation") == operation for line in process.lines()),
        f"the woken {process.name} lets go",
    )


async def test_a_paused_installer_is_fenced_off_and_its_fetch_is_ended(pairs: Platform) -> None:
    with pairs.hand.watching() as happened:
        with pairs.forge.holding():
            install = await pairs.api.install(fresh("paused"), pairs.forge.tool("web", web()), start=True)
            await asyncio.to_thread(pairs.forge.wait_until_held)
            first = await owner(pairs, install)
            fetching = set(belonging_to(pairs.data / "fetches"))
            assert fetching
            await first.pause()
            await pairs.started(install, 2)
            assert not fetching & set(belonging_to(pairs.data / "fetches"))
        (ended,) = await succeeded(pairs, install)
        first.wake()
        await lets_go(first, install.operation)
        await until(lambda: not list((pairs.data / "fetches").glob("fetch-*")), "no fetch is left on disk")
    assert (await pairs.record(install)).ended == ended
    assert counted(happened, "create") == {install.tool: 1}


async def test_a_paused_orchestrator_does_not_act_on_a_start_that_another_one_carried_out(pairs: Platform) -> None:
    with pairs.hand.watching() as happened:
        install = await pairs.api.install(fresh("paused"), pairs.forge.tool("waits", waits_for_go()))
        await succeeded(pairs, install)
        start = await pairs.api.start(install.body["operation"]["tool_name"])
        await until(lambda: pairs.hand.running(install.tool), "it starts")
        first = await owner(pairs, start)
        await first.pause()
        fence = await pairs.started(start, 2)
        pairs.let_go(install.tool)
        (ended,) = await succeeded(pairs, start)
        assert ended.fence == fence
        stop = await pairs.api.stop(install.body["operation"]["tool_name"])
        await succeeded(pairs, stop)
        first.wake()
        await lets_go(first, start.operation)
        await nothing_waits(pairs)
    assert await pairs.hand.running(install.tool) == []
    assert (counted(happened, "create"), counted(happened, "start")) == ({install.tool: 1}, {install.tool: 1})


async def test_a_paused_orchestrator_s_build_is_ended_before_another_one_builds(pairs: Platform) -> None:
    gate = fresh("gate")
    url = pairs.forge.tool(gate, gated(pairs.gate, gate))
    with pairs.hand.watching() as happened:
        install = await pairs.api.install(fresh("paused"), url, start=True)
        await pairs.gate.reached(gate)
        first, before = _building(pairs)
        await first.pause()
        await until(lambda: _clients(pairs) - before, "another one builds")
        assert not before & _clients(pairs)
        pairs.gate.open(gate)
        await succeeded(pairs, install)
        first.wake()
        await nothing_waits(pairs)
        await until(lambda: not _clients(pairs), "no build is left")
    assert_one_end(await pairs.record(install))
    assert counted(happened, "create") == counted(happened, "start") == {install.tool: 1}
    assert len((await pairs.hand.seen(install.tool)).images) == 1


async def test_work_whose_owner_slept_too_long_is_begun_anew_and_not_failed(singles: Platform) -> None:
    """The children of the sleeper were ended, which is no fault of theirs."""
    gate = fresh("gate")
    install = await singles.api.install(fresh("slept"), singles.forge.tool(gate, gated(singles.gate, gate)), start=True)
    await singles.gate.reached(gate)
    before = _clients(singles)
    orchestrator = singles.processes["orchestrator"]
    await orchestrator.pause()
    await until(lambda: not before & _clients(singles), "the watchdog ends the build")
    orchestrator.wake()
    singles.gate.open(gate)
    await succeeded(singles, install)
    with singles.forge.holding():
        install = await singles.api.install(fresh("slept"), singles.forge.tool("web", web()))
        await asyncio.to_thread(singles.forge.wait_until_held)
        fetching = set(belonging_to(singles.data / "fetches"))
        await singles.processes["installer"].pause()
        await until(lambda: not fetching & set(belonging_to(singles.data / "fetches")), "the watchdog ends the fetch")
        singles.processes["installer"].wake()
    (ended,) = await succeeded(singles, install)
    assert isinstance(ended, OperationSucceeded)


def _clients(platform: Platform) -> set[int]:
    """Pids of BuildKit's clients and their watchdogs."""
    return {pid for pid, words in belonging_to(platform.data / "buildx").items() if "buildx" in words}


def _building(platform: Platform) -> tuple[Process, set[int]]:
    clients = _clients(platform)
    for replica in platform.replicas("orchestrator"):
        if clients & children_of(replica.pid):
            return replica, clients
    raise AssertionError("nobody builds")


def children_of(pid: int) -> set[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(word) for task in tasks for word in task.read_text().split()}
