"""A cancel request, at every moment at which it can come."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from libs.contracts.operations import OperationCancelled, OperationFailed, OperationSucceeded
from libs.contracts.tools import ToolState
from tests.bus.hub import TIMING, Hub, on_both_servers
from tests.bus.orders import PAUSE, Halt, Job
from tests.bus.sketch import command, install


@on_both_servers
async def test_what_is_cancelled_while_it_waits_ends_before_its_turn_and_does_nothing(hub: Hub):
    tool = await hub.installed("lathe")
    hub.hire("orchestrator", "only", jobs={"lathe": Job(seconds=2)})
    running, waiting = (command(action, tool.id, tool.name) for action in ("start", "stop"))
    await hub.submit(running)
    await hub.acting(running)
    await hub.submit(waiting)
    await hub.cancel(waiting)
    ended = await hub.ended(waiting)
    assert (await hub.record(running)).ended is None
    assert isinstance(ended, OperationCancelled)
    assert ended.effect == "none"
    assert "user:admin" in ended.error.message
    await hub.settled()
    assert not hub.effects.of(waiting.operation)


@on_both_servers
async def test_an_install_cancelled_before_it_began_frees_its_name(hub: Hub):
    lathe = install("lathe")
    await hub.submit(lathe)
    await hub.cancel(lathe)
    hub.hire("installer", "only")
    (ended,) = await hub.settled(lathe)
    assert isinstance(ended, OperationCancelled)
    assert not hub.effects.of(lathe.operation)
    assert await hub.name_holder("lathe") is None


@pytest.mark.parametrize("action", ["build", "start", "stop", "restart", "uninstall"])
async def test_what_is_cancelled_while_it_works_is_broken_off_and_recovered(hub: Hub, action: str):
    tool = await hub.installed("lathe")
    hub.hire("orchestrator", "only", jobs={"lathe": Job(seconds=60, child=True)})
    each = command(action, tool.id, tool.name)
    await hub.submit(each)
    await hub.acting(each)
    await hub.cancel(each)
    (ended,) = await hub.settled(each)
    assert isinstance(ended, OperationCancelled)
    assert ended.effect == "changed"
    assert ended.state is not None
    assert ended.state.reason == "cancelled"
    act, recover = hub.effects.stretches()
    assert (act.what, recover.what) == ("act", "recover")
    assert act.last <= recover.begun
    assert hub.effects.signs_after("only", recover.begun) == 0


@on_both_servers
async def test_an_install_cancelled_while_it_works_leaves_nothing(hub: Hub):
    hub.hire("installer", "only", jobs={"lathe": Job(seconds=60, child=True)})
    lathe = install("lathe")
    await hub.submit(lathe)
    await hub.acting(lathe)
    await hub.cancel(lathe)
    (ended,) = await hub.settled(lathe)
    assert isinstance(ended, OperationCancelled)
    assert ended.effect == "removed"
    assert await hub.name_holder("lathe") is None


@on_both_servers
@pytest.mark.parametrize("too_late", [False, True])
async def test_a_cancel_in_the_instant_of_success_undoes_what_can_be_undone(hub: Hub, too_late: bool):
    """The terminal event is on its way when the request is stored before it."""
    tool = await hub.installed("lathe")
    only = hub.hire(
        "orchestrator", "only", jobs={"lathe": Job(too_late=too_late)}, halts=(Halt("before ended", PAUSE),)
    )
    stop = command("stop", tool.id, tool.name)
    await hub.submit(stop)
    await only.paused()
    await hub.cancel(stop)
    only.wake()
    (ended,) = await hub.settled(stop)
    assert isinstance(ended, OperationSucceeded if too_late else OperationCancelled)
    assert ended.state is not None
    assert ended.state.state is ToolState.STOPPED
    assert [each.what for each in hub.effects.stretches()] == ["act", "recover"]
    assert len((await hub.record(stop)).starts) == 1


@on_both_servers
async def test_a_cancel_in_the_instant_of_failure_is_recovered_from_and_cancelled(hub: Hub):
    tool = await hub.installed("lathe")
    only = hub.hire("orchestrator", "only", jobs={"lathe": Job(fails="no_port")}, halts=(Halt("before ended", PAUSE),))
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await only.paused()
    await hub.cancel(start)
    only.wake()
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationCancelled)


@on_both_servers
async def test_a_cancel_after_the_end_changes_nothing(hub: Hub):
    tool = await hub.installed("lathe")
    hub.hire("orchestrator", "only")
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await hub.ended(start)
    await hub.cancel(start)
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationSucceeded)
    assert (await hub.record(start)).cancel is None


@on_both_servers
async def test_many_who_cancel_at_once_leave_one_request(hub: Hub):
    tool = await hub.installed("lathe")
    hub.hire("orchestrator", "only", jobs={"lathe": Job(seconds=60)})
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await hub.acting(start)
    await asyncio.gather(*(hub.cancel(start) for _ in range(20)))
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationCancelled)


@on_both_servers
async def test_what_takes_longer_than_its_deadline_is_broken_off_and_recovered(hub: Hub):
    tool = await hub.installed("lathe")
    timing = replace(TIMING, deadlines={"start": 0.7})
    hub.hire("orchestrator", "only", timing=timing, jobs={"lathe": Job(seconds=60, child=True)})
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationFailed)
    assert ended.error.code == "deadline_exceeded"
    act, recover = hub.effects.stretches()
    assert act.last <= recover.begun
    assert hub.effects.signs_after("only", recover.begun) == 0


@on_both_servers
async def test_the_deadline_of_the_first_attempt_holds_for_the_next_ones(hub: Hub):
    """Else a command whose worker dies again and again would never come to an end."""
    tool = await hub.installed("lathe")
    timing = replace(TIMING, deadlines={"start": 1.0})
    first = hub.hire("orchestrator", "first", timing=timing, jobs={"lathe": Job(seconds=60)})
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await hub.acting(start)
    first.kill()
    hub.hire("orchestrator", "second", timing=timing, jobs={"lathe": Job(seconds=60)})
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationFailed)
    assert ended.error.code == "deadline_exceeded"
    record = await hub.record(start)
    assert len(record.starts) == 2


@on_both_servers
async def test_what_needs_an_engine_that_is_away_waits_says_so_and_goes_on(hub: Hub):
    tool = await hub.installed("lathe")
    hub.hire("orchestrator", "only", jobs={"lathe": Job(away=hub.folder / "away")})
    (hub.folder / "away").touch()
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await hub.says(start, "waiting: the engine does not answer")
    assert (await hub.record(start)).ended is None
    (hub.folder / "away").unlink()
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationSucceeded)
    assert len((await hub.record(start)).starts) == 1


@on_both_servers
async def test_what_needs_an_engine_that_stays_away_fails_at_its_deadline(hub: Hub):
    tool = await hub.installed("lathe")
    (hub.folder / "away").touch()
    timing = replace(TIMING, deadlines={"start": 0.7})
    hub.hire("orchestrator", "only", timing=timing, jobs={"lathe": Job(away=hub.folder / "away")})
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationFailed)
    assert ended.error.code == "deadline_exceeded"
