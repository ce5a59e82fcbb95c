"""kill -9 while stacks are built, made, started, waited for, stopped and removed; and an owner that slept meanwhile."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

import httpx
import pytest

from libs.contracts.operations import OperationCancelled
from libs.runtime.http import metrics_token
from tests.support.platform import Platform, split_platform
from tests.support.platform_api import Accepted
from tests.support.platform_checks import assert_one_end, fresh, nothing_waits, succeeded, worker_of
from tests.support.platform_engine import Happened
from tests.support.platform_process import Process
from tests.support.platform_stacks import container, did, page, removed, stack, waits
from tests.support.platform_stacks_held import (
    DONE,
    HEALTHY,
    UP,
    builds_at,
    children,
    comes_up_on_go,
    composing,
    ends_on_go,
    go,
    go_folder,
    healthy_on_go,
    made,
    no_child_is_left,
    no_file_is_left,
    nothing_is_astray,
    of_many,
    once,
    parent_among,
    shown_as_it_is,
    stay,
)
from tests.support.platform_tools import Files
from tests.support.platform_waiting import WITHIN, until

Found = TypeVar("Found")
ALL_OF_MANY = dict.fromkeys([*(f"s{number}" for number in range(8)), "web", "writer"], UP)


@pytest.fixture(scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    """Its second orchestrator is started by who needs it."""
    async with split_platform(tmp_path_factory.mktemp("killed-stacks")) as platform:
        platform.add("orchestrator")
        yield platform
        assert platform.complaints() == []


@pytest.fixture(autouse=True)
async def one_orchestrator(platform: Platform) -> AsyncGenerator[None]:
    """Works before each test; and after it nothing is left of it."""
    await second(platform).kill()
    await platform.processes["orchestrator"].kill()
    await platform.processes["orchestrator"].start()
    yield
    await nothing_waits(platform)
    await no_child_is_left(platform)
    no_file_is_left(platform)
    await nothing_is_astray(platform)


def second(platform: Platform) -> Process:
    return platform.processes["orchestrator-2"]


async def begun(
    platform: Platform, files: Files, *, start: bool = True, name: str | None = None
) -> tuple[str, Accepted]:
    name = name or fresh("stack")
    return name, await platform.api.install(name, platform.forge.tool(fresh("repo"), files), start=start)


async def killed(platform: Platform, victim: Process) -> None:
    """And with it all its children."""
    before = set(children(platform))
    await victim.kill()
    await until(lambda: not before & set(children(platform)), f"the children of the {victim.name} end")


@dataclass
class Held:
    """A stack of each kind in the middle of a step; `accepted` are their operations that do not go on."""

    gate: str
    names: dict[str, str]
    tools: dict[str, str]
    accepted: dict[str, Accepted]


async def held(platform: Platform) -> Held:
    files = {
        "build": builds_at(gate := fresh("gate"), platform.gate.url),
        "up": comes_up_on_go(),
        "health": healthy_on_go(),
        "stop": ends_on_go(),
    }
    made = dict(zip(files, await asyncio.gather(*(begun(platform, each) for each in files.values())), strict=True))
    accepted = {moment: operation for moment, (_, operation) in made.items()}
    await succeeded(platform, accepted["stop"])
    found = Held(gate, {m: name for m, (name, _) in made.items()}, {m: a.tool for m, a in accepted.items()}, accepted)
    accepted["stop"] = await platform.api.stop(found.names["stop"])
    await platform.gate.reached(gate)
    job = container(platform, found.tools["up"], "job")
    await until(lambda: _runs(platform, found.tools["up"], job), "the job runs")
    await until(lambda: _runs(platform, found.tools["health"], "slow"), "what is to be healthy runs")
    await until(lambda: not composing(platform, found.tools["health"], "up"), "its health is waited for")
    await until((go_folder(platform, found.tools["stop"]) / "asked").exists, "it is asked to end")
    assert composing(platform, found.tools["build"], "build")
    assert composing(platform, found.tools["up"], "up")
    return found


async def _runs(platform: Platform, tool: str, part: str) -> bool:
    return any(part in name for name in await platform.hand.running(tool))


async def taken_on_again(platform: Platform, stacks: Held) -> None:
    """A job that ended before that would run once more, as it does at each start."""
    await until(lambda: composing(platform, stacks.tools["build"], "build"), "it is built again")
    await until(lambda: composing(platform, stacks.tools["up"], "up"), "it is brought up again")


def let_go(platform: Platform, stacks: Held) -> None:
    platform.gate.open(stacks.gate)
    go(platform, *(stacks.tools[moment] for moment in ("up", "health", "stop")))


async def are_as_they_should_be(platform: Platform, stacks: Held, happened: Collection[Happened]) -> None:
    """Each ended once and well, and what it was to make was made and started once; a job may have its turn again."""
    await succeeded(platform, *stacks.accepted.values())
    await asyncio.gather(*(platform.api.done(each) for each in stacks.accepted.values()))
    names = stacks.names
    await shown_as_it_is(platform, names["build"], "running", {"gated": UP, "web": UP})
    await shown_as_it_is(platform, names["up"], "running", {"job": DONE, "web": UP})
    await shown_as_it_is(platform, names["health"], "running", {"slow": HEALTHY, "web": UP})
    await shown_as_it_is(platform, names["stop"], "stopped", {"first": DONE, "last": DONE})
    for tool in stacks.tools.values():
        for action in ("create", "start"):
            counted = once(happened, action, tool)
            servers = [times for container, times in counted.items() if "-job-" not in container]
            assert (len(counted), set(servers)) == (2, {1}), (action, counted)
    assert [await page(await platform.api.tool(names[each])) for each in ("build", "up")] == ["built", "up"]
    await no_child_is_left(platform)
    await nothing_is_astray(platform)


async def live_on(platform: Platform, stacks: Held) -> None:
    """Whatever is asked of them next is done."""
    stay(platform, stacks.tools["stop"])
    go(platform, stacks.tools["stop"])

    async def one(moment: str) -> None:
        name = stacks.names[moment]
        for action in ("start", "stop") if moment == "stop" else ("stop", "start"):
            state = (await did(platform, action, name))["state"]
            assert state == ("running" if action == "start" else "stopped"), (moment, action, state)
        await removed(platform, name, stacks.tools[moment])

    await asyncio.gather(*(one(moment) for moment in stacks.names))


async def lets_go_of_all(platform: Platform, process: Process) -> None:
    """Returns when a woken process works on nothing any more."""
    token = (platform.data / metrics_token.NAME).read_text().strip()
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as client:

        async def look() -> bool:
            said = (await client.get(f"{process.url}/metrics")).text
            counts = re.findall(r"^machete_running_messages{.*} (\S+)$", said, re.MULTILINE)
            return bool(counts) and not any(float(count) for count in counts)

        await until(look, f"the woken {process.name} lets go")


async def started_again(platform: Platform) -> None:
    await killed(platform, platform.processes["orchestrator"])
    await platform.processes["orchestrator"].start()


async def taken_over(platform: Platform) -> None:
    await second(platform).start()
    await killed(platform, platform.processes["orchestrator"])


async def asleep(platform: Platform) -> None:
    await second(platform).start()
    before = set(children(platform))
    await platform.processes["orchestrator"].pause()
    await until(lambda: not before & set(children(platform)), "the sleeper's children end")


async def without_installer(platform: Platform) -> None:
    await platform.processes["installer"].restart()


async def without_nats(platform: Platform) -> None:
    """For so long that nobody is sure of his work any more."""
    assert platform.nats is not None
    before = set(children(platform))
    await platform.nats.kill()
    await until(lambda: not before & set(children(platform)), "the children of those who are not heard end")
    await platform.nats.start()


@pytest.mark.parametrize("fate", [started_again, taken_over, asleep, without_installer, without_nats])
async def test_broken_off_in_the_middle_of_a_step_each_stack_comes_to_its_one_end(
    platform: Platform, fate: Callable[[Platform], Awaitable[None]]
) -> None:
    """One is built, one brought up, one waited for, and one stopped."""
    first = platform.processes["orchestrator"]
    with platform.hand.watching() as happened:
        stacks = await held(platform)
        await fate(platform)
        await taken_on_again(platform, stacks)
        let_go(platform, stacks)
        await are_as_they_should_be(platform, stacks, happened)
    if fate is asleep:
        stay(platform, stacks.tools["stop"])
        await did(platform, "start", stacks.names["stop"])
        first.wake()
        await lets_go_of_all(platform, first)
        await nothing_waits(platform)
        await shown_as_it_is(platform, stacks.names["stop"], "running", {"first": UP, "last": UP})
        go(platform, stacks.tools["stop"])
        await did(platform, "stop", stacks.names["stop"])
        await succeeded(platform, *stacks.accepted.values())
    await live_on(platform, stacks)


async def fast(look: Callable[[], Found]) -> Found:
    """As `until`, for what lasts a moment only."""
    give_up = time.monotonic() + WITHIN
    while not (found := look()):
        assert time.monotonic() < give_up, f"not within {WITHIN:g} s"
        await asyncio.sleep(0.002)
    return found


async def killed_and_replaced(platform: Platform, owner: Process, *, two: bool) -> None:
    """Its work is taken over by the other one, or by itself when it is started again."""
    await killed(platform, owner)
    if not two:
        await owner.start()


@pytest.mark.parametrize("two", [False, True], ids=["started_again", "taken_over"])
async def test_killed_while_its_containers_are_made_each_is_made_once_and_its_files_are_its_user_s(
    platform: Platform, two: bool
) -> None:
    """While Compose reads its file, and again as soon as the first network is there; or the first container."""
    if two:
        await second(platform).start()
    with platform.hand.watching() as happened:
        name, install = await begun(platform, of_many())
        if not two:
            await fast(lambda: composing(platform, install.tool, "config"))
            await killed_and_replaced(platform, platform.processes["orchestrator"], two=two)
        clients = await fast(lambda: composing(platform, install.tool, "create"))
        owner = parent_among(platform.replicas("orchestrator"), clients)
        await fast(lambda: made(platform, "container" if two else "network", install.tool))
        await killed_and_replaced(platform, owner, two=two)
        await succeeded(platform, install)
        await platform.api.done(install)
        for action in ("create", "start"):
            counted = once(happened, action, install.tool)
            assert (len(counted), set(counted.values())) == (len(ALL_OF_MANY), {1}), (action, counted)
    await shown_as_it_is(platform, name, "running", ALL_OF_MANY)
    assert await page(await platform.api.tool(name)) == "many"
    await no_child_is_left(platform)
    await nothing_is_astray(platform)
    data = platform.folder_of(install.tool) / "data" / "data"
    assert (data.stat().st_uid, data.stat().st_gid) == (1234, 2345)
    await removed(platform, name, install.tool)


@pytest.mark.parametrize("two", [False, True], ids=["started_again", "taken_over"])
async def test_killed_while_it_is_removed_nothing_of_it_stays(platform: Platform, two: bool) -> None:
    if two:
        await second(platform).start()
    name, install = await begun(platform, of_many(), start=False)
    await succeeded(platform, install)
    with platform.hand.watching() as happened:
        removal = await platform.api.uninstall(name)
        await fast(lambda: once(happened, "destroy", install.tool))
        owner = platform.processes[worker_of(platform, removal) or ""]
        await killed_and_replaced(platform, owner, two=two)
        assert (await platform.record(removal)).ended is None, "the kill came too late"
        await succeeded(platform, removal)
    await platform.is_gone(install.tool)
    again, install = await begun(platform, stack({"web": waits()}), name=name)
    await succeeded(platform, install)
    await platform.api.done(install)
    await shown_as_it_is(platform, again, "running", {"web": UP})
    await removed(platform, again, install.tool)


async def test_what_is_asked_of_a_stack_while_nobody_works_on_it_is_done(platform: Platform) -> None:
    """An install that is cancelled, and a stack that is uninstalled at once while it starts, leave nothing."""
    orchestrator = platform.processes["orchestrator"]
    name, install = await begun(platform, comes_up_on_go(), start=False)
    await succeeded(platform, install)
    start = await platform.api.start(name)
    await until(lambda: platform.hand.running(install.tool), "its job runs")
    _, making = await begun(platform, of_many())
    await fast(lambda: made(platform, "container", making.tool))
    await killed(platform, orchestrator)
    removal = await platform.api.uninstall(name, now=True)
    await platform.api.cancel(making.operation)
    await orchestrator.start()
    await succeeded(platform, removal)
    for cancelled in (start, making):
        assert isinstance(await platform.ended(cancelled), OperationCancelled)
        assert_one_end(await platform.record(cancelled))
        await platform.is_gone(cancelled.tool)
