"""NATS killed and started again, answers lost on their way, and consumers deleted."""

from __future__ import annotations

import asyncio

import pytest

from libs.contracts.operations import OperationSucceeded
from libs.contracts.streams import COMMANDS
from tests.bus.hub import Hub, on_both_servers
from tests.bus.orders import LOST, Job
from tests.bus.sketch import command, install


@on_both_servers
async def test_every_acknowledgement_may_get_lost_once(hub: Hub):
    """What was stored is found by its id, or stored anew under the same: nothing is there twice."""
    jobs = {"lathe": Job(tasks=True)}
    hands = [hub.hire(user, user, jobs=jobs, loses=True) for user in ("installer", "orchestrator")]
    lathe = install("lathe", start=True)
    await hub.submit(lathe, accept=False)
    for action in ("stop", "uninstall"):
        await hub.submit(command(action, lathe.tool, "lathe"))
    ends = await hub.settled()
    assert [type(end) for end in ends] == [OperationSucceeded] * 3
    assert [len((await hub.record(each)).starts) for each in hub.sent] == [1, 1, 1]
    assert len(hub.effects.of(lathe.operation, "build")) == 1
    assert all(hand.said().count(LOST) >= 5 for hand in hands)
    assert await hub.name_holder("lathe") is None


@on_both_servers
async def test_killing_nats_under_load_loses_nothing_and_runs_nothing_that_ended_twice(hub: Hub):
    """30 tools; killed while commands wait, are worked on, and have just ended, and once more while it recovers."""
    jobs = {"lathe": Job(seconds=0.3)}
    hub.hire("orchestrator", "orchestrator-1", jobs=jobs)
    hub.hire("orchestrator", "orchestrator-2", jobs=jobs)
    hub.hire("installer", "installer", jobs=jobs)

    async def send(name: str) -> None:
        lathe = install(name)
        await hub.submit(lathe)
        for action in ("start", "stop"):
            await hub.submit(command(action, lathe.tool, name))

    sending = asyncio.gather(*(send(f"lathe-{number}") for number in range(30)))
    for ended in (1, 25, 60):
        await hub.eventually(lambda wanted=ended: hub.count_ended(wanted), f"{ended} have ended")
        await hub.server.kill()
        await asyncio.sleep(0.2)
        await hub.server.start()
    await sending
    ends = await hub.settled(within=60)
    assert len(ends) == 90
    assert all(isinstance(end, OperationSucceeded) for end in ends)
    stretches = hub.effects.stretches()
    for end in ends:
        fences = [each.fence for each in stretches if each.operation == end.operation]
        assert fences == sorted(set(fences)), "worked on twice under one fence"
        assert fences[-1] == end.fence, "worked on after it had ended"


@on_both_servers
async def test_workers_go_on_after_nats_was_away_for_longer_than_they_are_trusted(hub: Hub):
    """Their children were ended meanwhile; what they worked on is begun anew."""
    tool = await hub.installed("lathe")
    hub.hire("orchestrator", "only", jobs={"lathe": Job(seconds=1.5, child=True)})
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await hub.acting(start)
    await hub.server.kill()
    await asyncio.sleep(1.5)
    await hub.server.start()
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationSucceeded)


@on_both_servers
async def test_a_deleted_consumer_is_made_again_as_it_was_declared(hub: Hub):
    await consumer_deleted_and_made_again(hub)


@pytest.mark.parametrize("hub", ["three"], indirect=True)
async def test_a_deleted_consumer_of_a_cluster_is_made_again_with_all_its_copies(hub: Hub):
    await consumer_deleted_and_made_again(hub)


async def consumer_deleted_and_made_again(hub: Hub) -> None:
    tool = await hub.installed("lathe")
    hub.hire("orchestrator", "only")
    warm_up = command("start", tool.id, tool.name)
    await hub.submit(warm_up)
    await hub.settled()
    before = await hub.consumer("orchestrator")
    await hub.witness.jetstream.delete_consumer(COMMANDS.name, "orchestrator")
    stop = command("stop", tool.id, tool.name)
    await hub.submit(stop)
    await hub.settled()
    assert (await hub.consumer("orchestrator")).config == before.config


@on_both_servers
async def test_work_goes_on_over_the_deletion_of_its_consumer(hub: Hub):
    """The new consumer hands out again what is being worked on: to another worker, which must let it be."""
    tool = await hub.installed("lathe")
    hub.hire("orchestrator", "first", jobs={"lathe": Job(seconds=3)})
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    await hub.acting(start, "first")
    hub.hire("orchestrator", "second", jobs={"lathe": Job(seconds=3)})
    await hub.witness.jetstream.delete_consumer(COMMANDS.name, "orchestrator")
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationSucceeded)
    assert [each.worker for each in hub.effects.of(start.operation, "act")] == ["first"]
