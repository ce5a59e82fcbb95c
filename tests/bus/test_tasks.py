"""Work that one service asks of another: by whom it is done, once for each fence, whoever dies."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from libs.contracts.operations import OperationCancelled, OperationFailed, OperationSucceeded
from libs.contracts.streams import TASKS
from libs.contracts.tasks import BuildRelease
from libs.contracts.tools import ToolState
from libs.runtime.bus.timing import DEADLINES
from tests.bus.hub import TIMING, Hub, on_both_servers
from tests.bus.orders import KILL, Halt, Job
from tests.bus.sketch import command, install, tool
from tests.support.stage import eventually

BUILDS = {"lathe": Job(tasks=True), "mill": Job(tasks=True)}


@on_both_servers
async def test_an_install_is_one_operation_over_two_services(hub: Hub):
    hub.hire("installer", "installer", jobs=BUILDS)
    hub.hire("orchestrator", "orchestrator", jobs=BUILDS)
    lathe = install("lathe", start=True)
    await hub.submit(lathe)
    (ended,) = await hub.settled(lathe)
    assert isinstance(ended, OperationSucceeded)
    assert ended.state is not None
    assert ended.state.state is ToolState.RUNNING
    assert [(each.worker, each.what) for each in hub.effects.stretches()] == [
        ("orchestrator", "build"),
        ("orchestrator", "start"),
    ]


@on_both_servers
@pytest.mark.parametrize(
    ("point", "built"),
    [("mid build", ["first", "second"]), ("before answer", ["first", "second"]), ("after answer", ["first"])],
)
async def test_a_task_whose_worker_dies_is_answered_once(hub: Hub, point: str, built: list[str]):
    hub.hire("installer", "installer", jobs=BUILDS)
    first = hub.hire("orchestrator", "first", jobs=BUILDS, halts=(Halt(point, KILL),))
    lathe = install("lathe")
    await hub.submit(lathe)
    await first.dead()
    hub.hire("orchestrator", "second", jobs=BUILDS)
    (ended,) = await hub.settled(lathe)
    assert isinstance(ended, OperationSucceeded)
    assert [each.worker for each in hub.effects.of(lathe.operation, "build")] == built
    assert len(await hub.answers(lathe)) == 1
    assert len((await hub.record(lathe)).starts) == 1


@on_both_servers
async def test_the_task_of_an_owner_that_died_is_fenced_off_by_the_next_owner(hub: Hub):
    first = hub.hire("installer", "first", jobs=BUILDS)
    hub.hire("orchestrator", "orchestrator", jobs={"lathe": Job(seconds=2.5, child=True, tasks=True)})
    lathe = install("lathe")
    await hub.submit(lathe)
    await hub.acting(lathe, what="build")
    first.kill()
    hub.hire("installer", "second", jobs=BUILDS)
    (ended,) = await hub.settled(lathe)
    assert isinstance(ended, OperationSucceeded)
    old, new = hub.effects.stretches()
    assert old.fence < new.fence == ended.fence
    assert old.last - old.begun < 2.5, "the old task ran to its end"
    assert [answer.fence for answer in await hub.answers(lathe)] == [new.fence]


@on_both_servers
async def test_a_worker_woken_from_a_pause_leaves_its_task_to_its_successor(hub: Hub):
    """Both have the same fence: only silence tells the first one that it may not be alone."""
    hub.hire("installer", "installer", jobs=BUILDS)
    first = hub.hire("orchestrator", "first", jobs={"lathe": Job(seconds=5, tasks=True)})
    lathe = install("lathe")
    await hub.submit(lathe)
    await hub.acting(lathe, "first", "build")
    first.pause()
    hub.hire("orchestrator", "second", jobs={"lathe": Job(seconds=2, tasks=True)})
    await hub.acting(lathe, "second", "build")
    first.wake()
    (ended,) = await hub.settled(lathe, alone=False)
    assert isinstance(ended, OperationSucceeded)
    assert [each.worker for each in hub.effects.of(lathe.operation, "build")] == ["first", "second"]
    _, second_stretch = hub.effects.stretches()
    assert second_stretch.ended
    assert hub.effects.signs_after("first", second_stretch.begun + 1) == 0
    assert len(await hub.answers(lathe)) == 1


@on_both_servers
async def test_a_task_that_reached_a_paused_worker_is_left_to_the_one_that_does_it(hub: Hub):
    """It lies in its socket when it wakes up, and looks new to it."""
    hub.hire("installer", "installer", jobs=BUILDS)
    first = hub.hire("orchestrator", "first", jobs=BUILDS)
    warm_up = install("lathe")
    await hub.submit(warm_up)
    await hub.ended(warm_up)
    first.pause()
    mill = install("mill")
    await hub.submit(mill)
    hub.hire("orchestrator", "second", jobs={"mill": Job(seconds=1.5, tasks=True)})
    await hub.acting(mill, "second", "build")
    first.wake()
    (ended,) = await hub.settled(mill)
    assert isinstance(ended, OperationSucceeded)
    assert [each.worker for each in hub.effects.of(mill.operation, "build")] == ["second"]


@on_both_servers
async def test_a_task_of_an_older_fence_or_of_an_ended_operation_is_dropped(hub: Hub):
    hub.hire("installer", "installer")
    lathe = install("lathe")
    await hub.submit(lathe)
    (ended,) = await hub.settled(lathe)
    for fence in (ended.fence, ended.fence - 1):
        task = BuildRelease(
            operation=lathe.operation,
            tool=lathe.tool,
            fence=fence,
            deadline=datetime.now(UTC) + timedelta(minutes=1),
            subject_tool=tool(lathe.tool, lathe.tool_name),
        )
        await hub.witness.publish(TASKS, task)
    hub.hire("orchestrator", "orchestrator", jobs=BUILDS)
    await hub.empty(TASKS)
    assert not hub.effects.of(lathe.operation, "build")
    assert not await hub.answers(lathe)


@on_both_servers
async def test_an_install_cancelled_while_it_builds_discards_what_was_built(hub: Hub):
    hub.hire("installer", "installer", jobs=BUILDS)
    hub.hire("orchestrator", "orchestrator", jobs={"lathe": Job(seconds=60, child=True, tasks=True)})
    lathe = install("lathe")
    await hub.submit(lathe)
    await hub.acting(lathe, what="build")
    await hub.cancel(lathe)
    (ended,) = await hub.settled(lathe)
    assert isinstance(ended, OperationCancelled)
    build, discard = hub.effects.stretches()
    assert (build.what, discard.what) == ("build", "discard")
    assert build.last <= discard.begun
    assert await hub.name_holder("lathe") is None


@on_both_servers
async def test_a_build_that_fails_fails_its_install_with_what_it_said(hub: Hub):
    hub.hire("installer", "installer", jobs=BUILDS)
    hub.hire("orchestrator", "orchestrator", jobs={"lathe": Job(tasks=True, fails="build_failed")})
    lathe = install("lathe")
    await hub.submit(lathe)
    (ended,) = await hub.settled(lathe)
    assert isinstance(ended, OperationFailed)
    assert ended.error.code == "build_failed"
    assert await hub.name_holder("lathe") is None


@on_both_servers
async def test_an_install_whose_name_went_to_another_tool_fails_and_leaves_it_alone(hub: Hub):
    """Its gateway slept between reserving and sending, and the reservation was taken over."""
    other = await hub.installed("lathe")
    hub.hire("installer", "installer")
    late = install("lathe")
    await hub.submit(late)
    (ended,) = await hub.settled(late)
    assert isinstance(ended, OperationFailed)
    assert ended.error.code == "name_taken"
    assert await hub.name_holder("lathe") == other.id
    behind = command("start", late.tool, "lathe")
    hub.hire("orchestrator", "orchestrator")
    await hub.submit(behind)
    await hub.settled()
    assert await hub.name_holder("lathe") == other.id


@on_both_servers
async def test_a_task_whose_time_is_over_says_so_and_not_that_somebody_cancelled_it(hub: Hub):
    """The owner waits for its answer before it cleans up."""
    timing = replace(TIMING, deadlines={**DEADLINES, "install": 1.0})
    hub.hire("installer", "installer", jobs=BUILDS, timing=timing)
    hub.hire("orchestrator", "orchestrator", jobs={"lathe": Job(seconds=60, child=True, tasks=True)})
    lathe = install("lathe")
    await hub.submit(lathe)
    (ended,) = await hub.settled(lathe)
    assert isinstance(ended, OperationFailed)
    assert ended.error.code == "deadline_exceeded"
    answer, *_ = await hub.answers(lathe)
    assert (answer.what, answer.outcome) == (BuildRelease.what, "failed")
    assert answer.error is not None
    assert answer.error.code == "deadline_exceeded"
    assert "orchestrator" in answer.error.message


@on_both_servers
async def test_a_queue_of_tasks_that_takes_no_more_is_waited_for(hub: Hub):
    jetstream = hub.witness.jetstream
    config = (await jetstream.stream_info(TASKS.name)).config
    await jetstream.update_stream(config.evolve(max_bytes=1))
    hub.hire("orchestrator", "orchestrator", jobs=BUILDS)
    hub.hire("installer", "installer", jobs=BUILDS)
    lathe = install("lathe")
    await hub.submit(lathe)

    async def begun() -> bool:
        return bool((await hub.record(lathe)).starts)

    await eventually(begun, "it is begun")
    await asyncio.sleep(3 * TIMING.retry)
    assert (await hub.record(lathe)).ended is None
    await jetstream.update_stream(config)
    (ended,) = await hub.settled(lathe)
    assert isinstance(ended, OperationSucceeded)
    assert len((await hub.record(lathe)).starts) == 1
