"""A worker that dies, at every step of its way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from libs.contracts.operations import OperationCancelled, OperationFailed, OperationSucceeded
from tests.bus.hub import TIMING, Hub, on_both_servers
from tests.bus.orders import KILL, Halt, Job
from tests.bus.sketch import command, install
from tests.support.processes import until


@pytest.mark.parametrize(
    ("point", "starts", "acted"),
    [
        ("before started", 1, ["second"]),
        ("after started", 2, ["second"]),
        ("mid act", 2, ["first", "second"]),
        ("before ended", 2, ["first", "second"]),
        ("after ended", 1, ["first"]),
        ("after state", 1, ["first"]),
        ("before ack", 1, ["first"]),
        ("after ack", 1, ["first"]),
    ],
)
@on_both_servers
async def test_a_command_whose_worker_dies_has_one_outcome(hub: Hub, point: str, starts: int, acted: list[str]):
    """What ended is not run again; what did not is, under a fence of its own."""
    tool = await hub.installed("lathe")
    first = hub.hire("orchestrator", "first", halts=(Halt(point, KILL),))
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await first.dead()
    hub.hire("orchestrator", "second")
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationSucceeded)
    assert [effect.worker for effect in hub.effects.of(start.operation, "act")] == acted
    assert len((await hub.record(start)).starts) == starts


@on_both_servers
async def test_a_command_that_the_gateway_did_not_get_to_accept_is_accepted_by_its_worker(hub: Hub):
    tool = await hub.installed("lathe")
    first = hub.hire("orchestrator", "first", halts=(Halt("after accepted", KILL),))
    start = command("start", tool.id, tool.name)
    await hub.submit(start, accept=False)
    await first.dead()
    await hub.accept(start)
    hub.hire("orchestrator", "second")
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationSucceeded)


@on_both_servers
async def test_the_children_of_a_worker_that_dies_end_before_the_next_one_begins(hub: Hub):
    tool = await hub.installed("lathe")
    jobs = {"lathe": Job(seconds=1.0, child=True)}
    first = hub.hire("orchestrator", "first", jobs={"lathe": Job(seconds=60, child=True)})
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await hub.acting(start, "first")
    first.kill()
    hub.hire("orchestrator", "second", jobs=jobs)
    await hub.settled(start)
    of_first, of_second = hub.effects.stretches()
    assert (of_first.worker, of_second.worker) == ("first", "second")
    assert of_first.last < of_second.begun
    assert of_second.ended


@pytest.mark.parametrize("point", ["after ended", "after state", "after name"])
@on_both_servers
async def test_the_name_of_an_uninstalled_tool_is_freed_although_its_worker_died(hub: Hub, point: str):
    tool = await hub.installed("lathe")
    first = hub.hire("orchestrator", "first", halts=(Halt(point, KILL),))
    uninstall = command("uninstall", tool.id, tool.name)
    await hub.submit(uninstall)
    await first.dead()
    assert (await hub.name_holder("lathe") is None) == (point == "after name")
    hub.hire("orchestrator", "second")
    await hub.settled(uninstall)
    assert await hub.name_holder("lathe") is None
    assert len(hub.effects.of(uninstall.operation)) == 1


@on_both_servers
async def test_the_name_of_a_failed_install_is_freed_although_its_worker_died(hub: Hub):
    first = hub.hire("installer", "first", halts=(Halt("after state", KILL),), jobs={"lathe": Job(fails="no_manifest")})
    lathe = install("lathe")
    await hub.submit(lathe)
    await first.dead()
    assert await hub.name_holder("lathe") == lathe.tool
    hub.hire("installer", "second")
    (ended,) = await hub.settled(lathe)
    assert isinstance(ended, OperationFailed)
    assert ended.error.code == "no_manifest"
    assert await hub.name_holder("lathe") is None


@on_both_servers
async def test_freeing_a_name_again_takes_it_from_nobody_else(hub: Hub):
    """The worker dies after it freed the name; somebody installs another tool under it; then it is settled again."""
    tool = await hub.installed("lathe")
    first = hub.hire("orchestrator", "first", halts=(Halt("after name", KILL),))
    uninstall = command("uninstall", tool.id, tool.name)
    await hub.submit(uninstall)
    await first.dead()
    other = await hub.installed("lathe")
    hub.hire("orchestrator", "second")
    await hub.settled(uninstall)
    assert await hub.name_holder("lathe") == other.id


@on_both_servers
async def test_a_cancelled_operation_whose_worker_dies_is_undone_by_the_next_one(hub: Hub):
    tool = await hub.installed("lathe")
    first = hub.hire("orchestrator", "first", jobs={"lathe": Job(seconds=60)})
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await hub.acting(start, "first")
    first.pause()
    await hub.cancel(start)
    first.kill()
    hub.hire("orchestrator", "second")
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationCancelled)
    assert ended.effect == "changed"
    assert [(each.worker, each.what) for each in hub.effects.stretches()] == [("first", "act"), ("second", "recover")]


@on_both_servers
async def test_a_worker_that_dies_while_it_undoes_is_followed_by_one_that_undoes(hub: Hub):
    tool = await hub.installed("lathe")
    first = hub.hire("orchestrator", "first", jobs={"lathe": Job(seconds=60)}, halts=(Halt("mid recover", KILL),))
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await hub.acting(start, "first")
    await hub.cancel(start)
    await first.dead()
    hub.hire("orchestrator", "second")
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationCancelled)
    assert [(each.worker, each.what) for each in hub.effects.stretches()] == [
        ("first", "act"),
        ("first", "recover"),
        ("second", "recover"),
    ]


@on_both_servers
async def test_a_command_that_kills_every_worker_is_given_up_and_kept(hub: Hub):
    """Two attempts to act, one to recover; the next worker touches nothing."""
    timing = replace(TIMING, max_attempts=2)
    tool = await hub.installed("lathe")
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    for name in ("first", "second", "third"):
        hand = hub.hire("orchestrator", name, timing=timing, jobs={"lathe": Job(kills=True)})
        await hand.dead()
    stop = command("stop", tool.id, tool.name)
    await hub.submit(stop)
    hub.hire("orchestrator", "fourth", timing=timing)
    given_up, stopped = await hub.settled()
    assert isinstance(given_up, OperationFailed)
    assert (given_up.error.code, given_up.effect) == ("given_up", "none")
    assert isinstance(stopped, OperationSucceeded)
    assert [each.worker for each in hub.effects.of(start.operation)] == ["first", "second", "third"]
    (letter,) = await hub.letters()
    assert (letter.operation, letter.tool, letter.stream) == (start.operation, tool.id, "COMMANDS")


@on_both_servers
async def test_a_worker_that_dies_leaves_no_child(hub: Hub):
    tool = await hub.installed("lathe")
    first = hub.hire("orchestrator", "first", jobs={"lathe": Job(seconds=60, child=True)})
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await hub.acting(start, "first")
    first.kill()
    seen = 0

    def silent() -> bool:
        nonlocal seen
        before, seen = seen, len(hub.effects.of(start.operation, "act", "tick"))
        return before == seen

    await until(silent)
