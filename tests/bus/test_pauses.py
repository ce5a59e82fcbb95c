"""A worker that is paused, or cut off, and comes back when others have gone on without it."""

from __future__ import annotations

import asyncio
import time

import pytest

from libs.contracts.operations import OperationFailed, OperationSucceeded
from libs.runtime.bus.operation import HEAD_START
from tests.bus.cable import cable
from tests.bus.hub import TIMING, Hub, on_both_servers
from tests.bus.orders import KILL, PAUSE, Halt, Job
from tests.bus.sketch import command


@pytest.mark.parametrize("child", [False, True])
@on_both_servers
async def test_a_worker_woken_after_another_took_over_changes_nothing_any_more(hub: Hub, child: bool):
    tool = await hub.installed("lathe")
    first = hub.hire("orchestrator", "first", jobs={"lathe": Job(seconds=8, child=child)})
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await hub.acting(start, "first")
    first.pause()
    hub.hire("orchestrator", "second", jobs={"lathe": Job(seconds=1)})
    await hub.acting(start, "second")
    first.wake()
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationSucceeded)
    of_first, of_second = hub.effects.stretches()
    assert (of_first.worker, of_second.worker) == ("first", "second")
    if child:
        assert hub.effects.signs_after("first", of_second.begun) == 0
    assert len((await hub.record(start)).starts) == 2


@on_both_servers
async def test_a_worker_woken_where_it_was_about_to_start_a_child_leaves_it_to_its_successor(hub: Hub):
    """Nothing broke, and nobody is told that something did."""
    tool = await hub.installed("lathe")
    halts = (Halt("before child of act", PAUSE),)
    first = hub.hire("orchestrator", "first", halts=halts, jobs={"lathe": Job(child=True)})
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await first.paused()
    hub.hire("orchestrator", "second", jobs={"lathe": Job(seconds=1)})
    await hub.acting(start, "second")
    first.wake()
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationSucceeded)
    assert "broke" not in first.said()


@on_both_servers
async def test_a_worker_woken_before_its_terminal_append_loses_it(hub: Hub):
    """What it found out is not the outcome: another owns the operation by then."""
    tool = await hub.installed("lathe")
    first = hub.hire(
        "orchestrator", "first", halts=(Halt("before ended", PAUSE),), jobs={"lathe": Job(fails="of_first")}
    )
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await first.paused()
    hub.hire("orchestrator", "second", jobs={"lathe": Job(seconds=1)})
    await hub.acting(start, "second")
    first.wake()
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationSucceeded)


@on_both_servers
async def test_a_worker_woken_after_the_outcome_was_committed_changes_nothing(hub: Hub):
    tool = await hub.installed("lathe")
    first = hub.hire("orchestrator", "first", jobs={"lathe": Job(seconds=1, fails="of_first")})
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await hub.acting(start, "first")
    first.pause()
    second = hub.hire("orchestrator", "second")
    (ended,) = await hub.settled(start)
    first.wake()
    second.kill()
    stop = command("stop", tool.id, tool.name)
    await hub.submit(stop)
    await hub.settled()
    assert isinstance(ended, OperationSucceeded)
    assert [each.worker for each in hub.effects.of(stop.operation, "act")] == ["first"]


@on_both_servers
async def test_whoever_takes_over_lets_a_look_that_was_taken_before_be_acted_on_first(hub: Hub):
    tool = await hub.installed("lathe")
    first = hub.hire("orchestrator", "first", halts=(Halt("mid act", KILL),))
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await first.dead()
    hub.hire("orchestrator", "second")
    await hub.settled(start)
    acted = {each.worker: each.at for each in hub.effects.of(start.operation, "act")}
    begun = [started.started_at.timestamp() for _, started in (await hub.record(start)).starts]
    clocks_apart = time.time() - time.monotonic()
    assert acted["second"] + clocks_apart - begun[1] >= HEAD_START


@pytest.mark.parametrize("point", ["before started", "after started", "after accepted", "after look"])
@on_both_servers
async def test_a_worker_paused_before_it_began_lets_its_successor_finish(hub: Hub, point: str):
    tool = await hub.installed("lathe")
    first = hub.hire("orchestrator", "first", halts=(Halt(point, PAUSE),))
    start = command("start", tool.id, tool.name)
    await hub.submit(start, accept=point != "after accepted")
    await first.paused()
    hub.hire("orchestrator", "second", jobs={"lathe": Job(seconds=1)})
    await hub.acting(start, "second")
    first.wake()
    await hub.settled(start)
    assert [each.worker for each in hub.effects.of(start.operation, "act")] == ["second"]


@on_both_servers
async def test_a_worker_paused_while_it_held_a_command_lets_its_successor_finish(hub: Hub):
    """Both were waiting for their turn with it; only the one that the server gave it last may take it."""
    tool = await hub.installed("lathe")
    jobs = {"lathe": Job(seconds=1.5)}
    first = hub.hire("orchestrator", "first", jobs=jobs)
    start, stop = command("start", tool.id, tool.name), command("stop", tool.id, tool.name)
    await hub.submit(start)
    await hub.submit(stop)
    await hub.acting(start, "first")
    first.pause()
    hub.hire("orchestrator", "second", jobs=jobs)
    await hub.acting(stop, "second")
    first.wake()
    await hub.settled()
    assert [each.worker for each in hub.effects.of(stop.operation, "act")] == ["second"]


@on_both_servers
async def test_a_lane_that_a_worker_held_through_a_pause_is_not_given_back_one_by_one(hub: Hub):
    """Each would otherwise wait for its turn, only to be let go of and handed out again then."""
    tool = await hub.installed("lathe")
    only = hub.hire("orchestrator", "only", jobs={"lathe": Job(seconds=0.2)})
    commands = [command("start", tool.id, tool.name) for _ in range(15)]
    for each in commands:
        await hub.submit(each)
    await hub.started(commands[1])
    only.pause()
    await asyncio.sleep(TIMING.watchdog_bound * 1.5)
    only.wake()
    await hub.settled(within=len(commands) * TIMING.ack_wait / 2)


@on_both_servers
async def test_commands_that_reached_a_paused_worker_are_done_by_the_others_and_left_to_them(hub: Hub):
    """They lie in its socket when it wakes up, and look new to it."""
    tools = [await hub.installed(f"lathe-{number}") for number in range(6)]
    first = hub.hire("orchestrator", "first")
    warm_up = command("start", tools[0].id, tools[0].name)
    await hub.submit(warm_up)
    await hub.ended(warm_up)
    first.pause()
    commands = [command("stop", tool.id, tool.name) for tool in tools]
    for each in commands:
        await hub.submit(each)
    hub.hire("orchestrator", "second", jobs={"lathe": Job(seconds=1.5)})
    for each in commands:
        await hub.acting(each, "second")
    first.wake()
    await hub.settled()
    assert {each.worker for command in commands for each in hub.effects.of(command.operation, "act")} == {"second"}


@pytest.mark.parametrize("seconds", [0.9, 1.5])
@on_both_servers
async def test_what_failed_while_its_worker_was_paused_is_begun_anew(hub: Hub, seconds: float):
    """Nobody took over: its child was ended by the watchdog, which says nothing about the tool."""
    tool = await hub.installed("lathe")
    only = hub.hire("orchestrator", "only", jobs={"lathe": Job(seconds=2, child=True)})
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await hub.acting(start)
    only.pause()
    await asyncio.sleep(seconds)
    only.wake()
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationSucceeded)
    assert len((await hub.record(start)).starts) == 2


@on_both_servers
async def test_what_failed_by_itself_is_not_begun_anew(hub: Hub):
    tool = await hub.installed("lathe")
    hub.hire("orchestrator", "only", jobs={"lathe": Job(seconds=2, child=True, fails="no_port")})
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationFailed)
    assert ended.error.code == "no_port"
    assert len((await hub.record(start)).starts) == 1


@on_both_servers
async def test_a_command_redelivered_to_the_worker_that_is_on_it_is_adopted(hub: Hub):
    """The server never hears of its heartbeats, so it hands the command out again: to the same worker."""
    tool = await hub.installed("lathe")
    hub.hire("orchestrator", "only", jobs={"lathe": Job(seconds=4)}, mute=True)
    start = command("start", tool.id, tool.name)
    await hub.submit(start)

    async def handed_out_again() -> int | None:
        return (await hub.consumer("orchestrator")).num_redelivered

    await hub.eventually(handed_out_again, "it is handed out again")
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationSucceeded)
    assert len(hub.effects.of(start.operation, "act")) == 1
    assert len((await hub.record(start)).starts) == 1


@on_both_servers
async def test_a_worker_cut_off_without_a_word_has_no_child_left_when_the_next_one_begins(hub: Hub):
    """Its connection looks well: nothing that it sends arrives, and nobody tells it."""
    tool = await hub.installed("lathe")
    async with cable(hub.server.port) as line:
        hub.hire("orchestrator", "first", url=line.url, jobs={"lathe": Job(seconds=20, child=True)})
        start = command("start", tool.id, tool.name)
        await hub.submit(start)
        await hub.acting(start, "first")
        line.cut()
        hub.hire("orchestrator", "second", jobs={"lathe": Job(seconds=1, child=True)})
        await hub.acting(start, "second")
        line.mend()
        (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationSucceeded)
    of_second = next(each for each in hub.effects.stretches() if each.worker == "second")
    assert hub.effects.signs_after("first", of_second.begun) == 0, "its child outlived the watchdog's bound"
