"""kill -9 of one service while an install is fetched, another one built, a third one started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from libs.contracts.operations import OperationCancelled
from tests.support.platform import Platform
from tests.support.platform_api import Accepted
from tests.support.platform_checks import counted, fresh, nothing_waits, succeeded
from tests.support.platform_process import belonging_to, said_by_machine
from tests.support.platform_tools import builds_for_ever, gated, sleeping, waits_for_go, web
from tests.support.platform_waiting import until
from tests.support.processes import state_of


@dataclass(frozen=True)
class UnderWay:
    """Installs that stand still in the middle of a step, until `go_on`."""

    cloning: Accepted
    building: Accepted
    starting: Accepted
    gate: str

    @property
    def all(self) -> tuple[Accepted, ...]:
        return self.cloning, self.building, self.starting


@asynccontextmanager
async def under_way(platform: Platform) -> AsyncGenerator[UnderWay]:
    """Leaving lets them go on."""
    api, forge = platform.api, platform.forge
    gate = fresh("gate")
    starting = await api.install(fresh("starting"), forge.tool("waits", waits_for_go()), start=True)
    building = await api.install(fresh("building"), forge.tool(gate, gated(platform.gate, gate)), start=True)
    await until(lambda: platform.hand.running(starting.tool), "a tool starts")
    await platform.gate.reached(gate)
    with forge.holding():
        cloning = await api.install(fresh("cloning"), forge.tool("web", web()), start=True)
        await asyncio.to_thread(forge.wait_until_held)
        yield UnderWay(cloning, building, starting, gate)
    platform.let_go(starting.tool)
    platform.gate.open(gate)


def children(platform: Platform) -> set[int]:
    """Git, BuildKit's client and their watchdogs."""
    return set(belonging_to(platform.data)) - {process.pid for process in platform.processes.values()}


@pytest.mark.parametrize("victim", ["installer", "orchestrator", "gateway", "status"])
async def test_installs_survive_the_death_of_a_service_in_every_step(singles: Platform, victim: str) -> None:
    with singles.hand.watching() as happened:
        async with under_way(singles) as installs:
            await singles.processes[victim].restart()
            await singles.started(installs.cloning)
        await succeeded(singles, *installs.all)
        await nothing_waits(singles)
    assert dict.fromkeys((each.tool for each in installs.all), 1) == counted(happened, "create")
    assert len(await singles.hand.running()) == len((await singles.hand.seen()).containers)
    for each in installs.all:
        assert len(await singles.hand.running(each.tool)) == 1


@pytest.mark.parametrize("victim", ["installer", "orchestrator"])
async def test_a_killed_service_leaves_no_git_and_no_build_behind(singles: Platform, victim: str) -> None:
    async with under_way(singles) as installs:
        before = children(singles)
        mine = {pid for pid in before if _parent_of(pid) == singles.processes[victim].pid}
        assert mine
        await singles.processes[victim].kill()
        await until(lambda: not [pid for pid in mine if state_of(pid)], f"the children of the {victim} end")
        await singles.start()
    await succeeded(singles, *installs.all)
    await until(lambda: not children(singles), "no child process is left")
    assert not list((singles.data / "fetches").glob("fetch-*"))


@pytest.mark.parametrize("victim", ["installer", "orchestrator"])
async def test_an_install_cancelled_while_its_service_is_dead_leaves_nothing(singles: Platform, victim: str) -> None:
    mark = sleeping()
    url = singles.forge.tool(fresh("for-ever"), builds_for_ever(mark))
    install = await singles.api.install(fresh("for-ever"), url)
    await until(lambda: said_by_machine(mark), "the build runs on the engine")
    await singles.processes[victim].kill()
    await singles.api.cancel(install.operation)
    await singles.start()
    ended = await singles.ended(install)
    assert isinstance(ended, OperationCancelled), ended
    assert ended.effect == "removed"
    await until(lambda: not said_by_machine(mark), "the build has ended on the engine")
    await singles.is_gone(install.tool)
    await nothing_waits(singles)


async def test_commands_to_running_tools_survive_the_death_of_the_orchestrator(singles: Platform) -> None:
    """Killed again and again while starts, stops, restarts and uninstalls of several tools are carried out."""
    url = singles.forge.tool("web", web())
    names = [fresh("busy") for _ in range(4)]
    await succeeded(singles, *await asyncio.gather(*(singles.api.install(name, url, start=True) for name in names)))
    lanes: dict[str, list[Accepted]] = {name: [] for name in names}
    for action in ("restart", "stop", "start", "uninstall"):
        for name in names:
            lanes[name].append(await singles.api.change(action, name))
        await singles.processes["orchestrator"].restart()
    for lane in lanes.values():
        await succeeded(singles, *lane)
        await singles.is_gone(lane[0].tool)
    await nothing_waits(singles)


def _parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
