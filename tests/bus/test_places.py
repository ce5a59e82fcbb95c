"""What takes long holds up nothing of another kind, and what waits for a place is not lost sight of."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from libs.contracts.operations import OperationCancelled, OperationSucceeded
from libs.contracts.tools import ToolCommand
from tests.bus.hub import TIMING, Hub
from tests.bus.orders import Job
from tests.bus.sketch import command

FEW = replace(TIMING, max_running=2)


async def sent(hub: Hub, action: str, *names: str) -> list[ToolCommand]:
    commands = [command(action, (tool := await hub.installed(name)).id, tool.name) for name in names]
    for each in commands:
        await hub.submit(each)
    return commands


async def test_neither_a_stop_nor_a_start_waits_behind_builds(hub: Hub):
    """Nor behind starts that take their time."""
    slow = {name: Job(seconds=60) for name in ("one", "two", "three", "four")}
    hub.hire("orchestrator", "only", jobs={**slow, "other": Job(seconds=0.1)}, timing=FEW)
    building = await sent(hub, "build", "one", "two")
    starting = await sent(hub, "start", "three", "four")
    for each in (*building, *starting):
        await hub.acting(each)
    for action in ("stop", "restart", "uninstall"):
        tool = await hub.installed(f"other-{action}")
        each = command(action, tool.id, tool.name)
        await hub.submit(each)
        assert isinstance(await hub.ended(each), OperationSucceeded)
    assert not any([(await hub.record(each)).ended for each in (*building, *starting)])
    await asyncio.gather(*(hub.cancel(each) for each in (*building, *starting)))
    await hub.settled()


async def test_what_waits_for_a_place_is_cancelled_at_once_and_does_nothing(hub: Hub):
    hub.hire("orchestrator", "only", jobs={name: Job(seconds=60) for name in ("one", "two", "three")}, timing=FEW)
    running = await sent(hub, "build", "one", "two")
    for each in running:
        await hub.acting(each)
    (waiting,) = await sent(hub, "build", "three")
    await hub.cancel(waiting)
    assert isinstance(await hub.ended(waiting), OperationCancelled)
    assert not any([(await hub.record(each)).ended for each in running])
    assert not hub.effects.of(waiting.operation)
    await asyncio.gather(*(hub.cancel(each) for each in running))
    await hub.settled()


async def test_places_are_given_back_whatever_became_of_what_had_them(hub: Hub):
    hub.hire("orchestrator", "only", jobs={name: Job(seconds=60) for name in ("one", "two")}, timing=FEW)
    running = await sent(hub, "build", "one", "two")
    for each in running:
        await hub.acting(each)
    waiting = await sent(hub, "build", "three", "four", "five")
    await hub.cancel(waiting[1])
    assert isinstance(await hub.ended(waiting[1]), OperationCancelled)
    for each in running:
        await hub.cancel(each)
    for each in (waiting[0], waiting[2]):
        assert isinstance(await hub.ended(each), OperationSucceeded)
    await hub.settled()
