"""One tool, one operation at a time, in the order in which the stream took them; many tools at once."""

from __future__ import annotations

import asyncio

import pytest

from libs.contracts.operations import OperationCancelled, OperationFailed, OperationSucceeded
from libs.contracts.tools import ToolCommand
from tests.bus.hub import Hub, on_both_servers
from tests.bus.orders import Job
from tests.bus.sketch import command, install


@on_both_servers
async def test_install_start_and_uninstall_sent_at_once_are_done_in_order_by_both_services(hub: Hub):
    hub.hire("installer", "installer", jobs={"lathe": Job(seconds=0.5)})
    hub.hire("orchestrator", "orchestrator")
    lathe = install("lathe")
    sent: list[ToolCommand] = [lathe, *(command(action, lathe.tool, "lathe") for action in ("start", "uninstall"))]
    for each in sent:
        await hub.submit(each)
    ends = await hub.settled()
    assert [type(end) for end in ends] == [OperationSucceeded] * 3
    assert [end.effect for end in ends] == ["changed", "changed", "removed"]
    assert await hub.name_holder("lathe") is None


async def test_each_tool_is_worked_on_in_order_and_alone_over_many_replicas_and_both_services(hub: Hub):
    """10 tools with 5 commands each, alternating between the two services, over five processes."""
    jobs = {"lathe": Job(seconds=0.03)}
    for name in ("orchestrator-1", "orchestrator-2", "orchestrator-3"):
        hub.hire("orchestrator", name, jobs=jobs)
    for name in ("installer-1", "installer-2"):
        hub.hire("installer", name, jobs=jobs)

    async def all_pull() -> bool | None:
        waiting = {
            name: (await hub.witness.jetstream.consumer_info("COMMANDS", name)).num_waiting
            for name in ("orchestrator", "installer")
        }
        return waiting == {"orchestrator": 3, "installer": 2} or None

    await hub.eventually(all_pull, "every worker asks for work")

    async def send(name: str) -> None:
        first = install(name)
        for action in ("install", "start", "install", "stop", "install"):
            await hub.submit(first if action == "install" and not hub.sent_for(first.tool) else again(action, first))

    await asyncio.gather(*(send(f"lathe-{number}") for number in range(10)))
    ends = await hub.settled()
    assert len(ends) == 50
    assert all(isinstance(end, OperationSucceeded) for end in ends)
    assert all(len(hub.effects.of(end.operation)) == 1 for end in ends)
    assert len({effect.worker for effect in hub.effects}) == 5


def again(action: str, first: ToolCommand) -> ToolCommand:
    return command(action, first.tool, first.tool_name)


@on_both_servers
async def test_different_tools_are_worked_on_at_the_same_time(hub: Hub):
    tools = [await hub.installed(f"lathe-{number}") for number in range(8)]
    hub.hire("orchestrator", "only", jobs={"lathe": Job(seconds=1.0)})
    for tool in tools:
        await hub.submit(command("start", tool.id, tool.name))
    await hub.settled()
    stretches = hub.effects.stretches()
    assert max(each.begun for each in stretches) < min(each.last for each in stretches)


@on_both_servers
async def test_a_stop_now_ends_what_runs_and_what_waits_and_is_done_then(hub: Hub):
    tool = await hub.installed("lathe")
    hub.hire("orchestrator", "only", jobs={"lathe": Job(seconds=1.5)})
    running, waiting = (command(action, tool.id, tool.name) for action in ("start", "restart"))
    await hub.submit(running)
    await hub.acting(running)
    await hub.submit(waiting)
    await hub.submit(command("stop", tool.id, tool.name, now=True))
    cut_off, never_begun, stopped = await hub.settled()
    assert isinstance(cut_off, OperationCancelled)
    assert cut_off.effect == "changed"
    assert isinstance(never_begun, OperationCancelled)
    assert never_begun.effect == "none"
    assert isinstance(stopped, OperationSucceeded)
    assert not hub.effects.of(waiting.operation)


@on_both_servers
async def test_an_uninstall_now_reaches_an_install_that_the_gateway_has_not_accepted_yet(hub: Hub):
    """Nobody takes installs for now; the other service ends the one before its own command."""
    hub.hire("orchestrator", "only")
    lathe = install("lathe")
    await hub.submit(lathe, accept=False)
    uninstall = command("uninstall", lathe.tool, "lathe", now=True)
    await hub.submit(uninstall)

    async def asked() -> bool:
        return (await hub.record(lathe)).cancel is not None

    await hub.eventually(asked, "the install is asked to end")
    await hub.accept(lathe)
    hub.hire("installer", "late")
    never_begun, gone = await hub.settled()
    assert isinstance(never_begun, OperationCancelled)
    assert isinstance(gone, OperationSucceeded)
    assert gone.effect == "none"
    assert await hub.name_holder("lathe") is None


@on_both_servers
async def test_a_command_behind_the_uninstall_of_its_tool_fails(hub: Hub):
    tool = await hub.installed("lathe")
    hub.hire("orchestrator", "only")
    uninstall, start = (command(action, tool.id, tool.name) for action in ("uninstall", "start"))
    await hub.submit(uninstall)
    await hub.submit(start)
    _, failed = await hub.settled()
    assert isinstance(failed, OperationFailed)
    assert failed.error.code == "tool_gone"
    state = await hub.state(tool.id)
    assert state is not None
    assert state.state is None


@pytest.mark.parametrize("action", ["stop", "uninstall"])
@pytest.mark.parametrize("now", [False, True])
async def test_a_command_behind_an_install_that_comes_to_nothing_has_what_it_asks_for_if_it_is_to_be_now(
    hub: Hub, action: str, now: bool
):
    hub.hire("installer", "installer", jobs={"lathe": Job(seconds=60)})
    hub.hire("orchestrator", "orchestrator")
    lathe = install("lathe")
    await hub.submit(lathe)
    await hub.acting(lathe)
    behind = command(action, lathe.tool, "lathe", now=now)
    await hub.submit(behind)
    if not now:
        await hub.cancel(lathe)
    cancelled, ended = await hub.settled()
    assert isinstance(cancelled, OperationCancelled)
    if now:
        assert isinstance(ended, OperationSucceeded)
        assert ended.effect == "none"
    else:
        assert isinstance(ended, OperationFailed)
        assert ended.error.code == "tool_gone"
    state = await hub.state(lathe.tool)
    assert state is not None
    assert state.state is None
    assert await hub.name_holder("lathe") is None


@pytest.mark.parametrize("action", ["stop", "uninstall"])
async def test_a_command_now_that_comes_too_late_to_keep_its_tool_from_being_uninstalled_fails(hub: Hub, action: str):
    tool = await hub.installed("lathe")
    hub.hire("orchestrator", "only", jobs={"lathe": Job(seconds=60, too_late=True)})
    uninstall = command("uninstall", tool.id, tool.name)
    await hub.submit(uninstall)
    await hub.acting(uninstall)
    await hub.submit(command(action, tool.id, tool.name, now=True))
    done, failed = await hub.settled()
    assert isinstance(done, OperationSucceeded)
    assert isinstance(failed, OperationFailed)
    assert failed.error.code == "tool_gone"


@on_both_servers
async def test_a_command_stored_twice_is_carried_out_once(hub: Hub):
    """A server that was restarted has forgotten the ids of what is done; here the window was too short."""
    tool = await hub.installed("lathe")
    jobs = {"lathe": Job(seconds=2)}
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    hub.hire("orchestrator", "first", jobs=jobs)
    hub.hire("orchestrator", "second", jobs=jobs)
    await hub.acting(start)
    await hub.store_again(start)
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationSucceeded)
    assert len(hub.effects.of(start.operation)) == 1
    assert len((await hub.record(start)).starts) == 1
