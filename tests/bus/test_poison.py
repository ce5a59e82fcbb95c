"""What is meant to break a worker is kept with its reason, ends visibly, and holds up no tool beside it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest

from libs.contracts.names import new_operation_id
from libs.contracts.operations import OperationCancelled, OperationFailed, OperationSucceeded
from libs.contracts.streams import COMMANDS, EVENTS, TASKS
from libs.contracts.subjects import RECORD
from libs.contracts.tasks import BuildRelease
from libs.contracts.tools import ToolCommand
from libs.runtime.bus.tasks import MAX_DELIVERIES
from tests.bus.hub import Hub, on_both_servers
from tests.bus.orders import KILL, Halt, Job
from tests.bus.sketch import command, install
from tests.bus.sketch import tool as sketch_tool
from tests.bus.test_letters import spoilt
from tests.support.stage import eventually

BUILDS = {"lathe": Job(tasks=True)}
FLOOD = 1000
LABOURERS = (("installer", "installer"), ("orchestrator", "other"))


def envelope(start: ToolCommand, **changed: object) -> dict[str, object]:
    head = {"specversion": "1.0", "id": start.operation, "source": "gateway/x", "type": start.type}
    said = {
        **head,
        "subject": start.subject,
        "time": datetime.now(UTC).isoformat(),
        "data": start.model_dump(mode="json"),
    }
    return {**said, **changed}


def poisons(start: ToolCommand, other: ToolCommand) -> dict[str, bytes]:
    """By what is wrong with it."""
    data = start.model_dump(mode="json")
    return {
        "specversion": json.dumps(envelope(start, specversion="2.0")).encode(),
        "unknown message type": json.dumps(envelope(start, type="machete.command.start-tool.v2")).encode(),
        "machete.query": json.dumps(envelope(start, type="machete.query.list-tools.v1", data={})).encode(),
        "says it is for": json.dumps(envelope(other)).encode(),
        "operation": json.dumps(envelope(start, data={**data, "operation": "op-1"})).encode(),
        "time": json.dumps(envelope(start, time="yesterday")).encode(),
        "not a CloudEvents envelope": b"[" * 200_000,
        "envelope": b'{"data": ' * 50_000,
        "Invalid JSON": b'{"data": {"operation": ' + b"9" * 10_000 + b"}",
        "JSON": b"\xff\xfe" + b"x" * 900_000,
    }


@on_both_servers
async def test_each_poison_is_kept_with_its_reason_and_the_tool_goes_on(hub: Hub):
    tool = await hub.installed("lathe")
    other = command("start", "mill-abc234", "mill")
    wanted = poisons(command("start", tool.id, tool.name), other)
    for payload in wanted.values():
        await hub.raw(COMMANDS, f"machete.cmd.v1.tool.{tool.id}.start", payload)
    hub.hire("orchestrator", "only")
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationSucceeded)
    letters = {each.sequence: each for each in await hub.letters()}
    assert len(letters) == len(wanted)
    for (reason, payload), (_, letter) in zip(wanted.items(), sorted(letters.items()), strict=True):
        assert reason in letter.reason
        assert payload.decode(errors="backslashreplace").startswith(letter.payload[:1000])


@on_both_servers
async def test_each_poison_behind_a_command_that_runs_and_one_that_waits_is_kept_once_and_said_once(hub: Hub):
    tool = await hub.installed("lathe")
    hands = [hub.hire(user, name) for user, name in LABOURERS]
    hands += [hub.hire("orchestrator", "slow", jobs={"lathe": Job(seconds=1.5)})]
    wanted = [*poisons(command("start", tool.id, tool.name), command("start", "mill-abc234", "mill")).values(), b""]
    sent = [command(action, tool.id, tool.name) for action in ("start", "restart", "stop")]
    await hub.submit(sent[0])
    await hub.acting(sent[0])
    for later in sent[1:]:
        for action in ("install", "start", "uninstall"):
            for payload in wanted:
                await hub.raw(COMMANDS, f"machete.cmd.v1.tool.{tool.id}.{action}", payload)
        await hub.submit(later)
    assert [type(each) for each in await hub.settled()] == [OperationSucceeded] * 3
    assert len(await hub.letters()) == 6 * len(wanted)
    assert "".join(hand.said() for hand in hands).count("kept as a dead letter") == 6 * len(wanted)


@on_both_servers
async def test_what_is_no_event_in_the_record_of_a_command_ends_neither_it_nor_what_waits_behind_it(hub: Hub):
    """Before it is taken on, while it waits, and while it is worked on."""
    tool = await hub.installed("lathe")
    sent = [command(action, tool.id, tool.name) for action in ("start", "restart", "stop")]
    await hub.raw(EVENTS, RECORD.build({"tool": tool.id, "operation": sent[0].operation}), b"?")
    await hub.submit(sent[0])
    hub.hire("orchestrator", "only", jobs={"lathe": Job(seconds=0.5)})
    await hub.acting(sent[0])
    for later in sent[1:]:
        await hub.submit(later)
    for each in sent:
        await hub.raw(EVENTS, RECORD.build({"tool": tool.id, "operation": each.operation}), b"?")
    assert [type(each) for each in await hub.settled()] == [OperationSucceeded] * 3


@on_both_servers
async def test_a_cancel_reaches_a_command_in_whose_record_is_no_event(hub: Hub):
    tool = await hub.installed("lathe")
    start = command("start", tool.id, tool.name)
    await hub.raw(EVENTS, RECORD.build({"tool": tool.id, "operation": start.operation}), b"?")
    await hub.submit(start, accept=False)
    await hub.submit(command("stop", tool.id, tool.name, now=True))
    hub.hire("orchestrator", "only", jobs={"lathe": Job(seconds=0.5)})
    assert [type(each) for each in await hub.settled()] == [OperationCancelled, OperationSucceeded]


@on_both_servers
@pytest.mark.parametrize("status", ["100", "404", "409"])
async def test_a_command_that_passes_for_a_word_of_the_server_is_done(hub: Hub, status: str):
    """It would hold up its tool for ever."""
    tool = await hub.installed("lathe")
    hub.hire("orchestrator", "only")
    start = command("start", tool.id, tool.name)
    await hub.witness.jetstream.publish(start.subject, b"?", stream=COMMANDS.name, headers={"Status": status})
    await hub.submit(start)
    assert [type(each) for each in await hub.settled()] == [OperationSucceeded]
    assert len(await hub.letters()) == 1


@on_both_servers
async def test_what_names_an_operation_that_is_not_its_own_ends_neither_it_nor_another(hub: Hub):
    """One that runs, under its tool's own subject, and one of another tool."""
    lathe, mill = await hub.installed("lathe"), await hub.installed("mill")
    hub.hire("orchestrator", "only", jobs={"lathe": Job(seconds=2)})
    running, waiting = command("start", lathe.id, "lathe"), command("start", mill.id, "mill")
    await hub.submit(running)
    await hub.acting(running)
    await hub.raw(COMMANDS, running.subject, spoilt(running))
    await hub.raw(COMMANDS, running.subject, json.dumps(envelope(waiting)).encode())
    await hub.eventually(lambda: _count(hub, 2), "both are kept")
    await hub.submit(waiting)
    assert [type(each) for each in await hub.settled()] == [OperationSucceeded, OperationSucceeded]
    about_waiting = [each async for each in hub.witness.each(EVENTS, RECORD.filter(operation=waiting.operation))]
    assert {each.subject.split(".")[4] for each in about_waiting} == {mill.id}


async def _count(hub: Hub, wanted: int) -> bool:
    return len(await hub.letters()) == wanted


@on_both_servers
@pytest.mark.parametrize("point", ["before letter", "after letter"])
async def test_a_worker_that_dies_while_it_keeps_a_letter_leaves_one_letter_and_one_end(hub: Hub, point: str):
    tool = await hub.installed("lathe")
    start = command("start", tool.id, tool.name)
    await hub.raw(COMMANDS, start.subject, spoilt(start))
    await hub.accept(start)
    first = hub.hire("orchestrator", "first", halts=(Halt(point, KILL),))
    await first.dead()
    hub.hire("orchestrator", "second")
    ended = await hub.ended(start)
    assert isinstance(ended, OperationFailed)
    assert ended.error.code == "undecodable"
    await hub.empty()
    (letter,) = await hub.letters()
    assert letter.operation == start.operation


@on_both_servers
async def test_the_owner_of_a_task_that_only_its_subject_names_is_told(hub: Hub):
    hub.hire("installer", "installer", jobs=BUILDS)
    lathe = install("lathe")
    await hub.submit(lathe)

    async def asked() -> bool:
        return (await hub.witness.jetstream.stream_info(TASKS.name)).state.messages == 1

    await hub.eventually(asked, "the installer asks for a build")
    await hub.witness.jetstream.purge_stream(TASKS.name)
    await hub.raw(TASKS, f"machete.task.v1.orchestrator.build.{lathe.operation}", b"no JSON")
    hub.hire("orchestrator", "orchestrator", jobs=BUILDS)
    (ended,) = await hub.settled(lathe)
    assert isinstance(ended, OperationFailed)
    assert ended.error.code == "undecodable"
    (letter,) = await hub.letters()
    assert (letter.stream, letter.tool, letter.operation) == ("TASKS", lathe.tool, lathe.operation)


@on_both_servers
async def test_a_task_that_names_another_operation_than_its_subject_ends_neither(hub: Hub):
    hub.hire("installer", "installer", jobs=BUILDS)
    hub.hire("orchestrator", "orchestrator", jobs={"lathe": Job(seconds=2, tasks=True)})
    lathe = install("lathe")
    await hub.submit(lathe)
    await hub.acting(lathe, what="build")
    data = {"operation": lathe.operation, "tool": lathe.tool, "fence": (await hub.record(lathe)).fence}
    subject = f"machete.task.v1.orchestrator.build.{new_operation_id('nobody', None)}"
    await hub.raw(TASKS, subject, json.dumps({"data": data}).encode())
    await hub.eventually(hub.letters, "it is kept")
    (ended,) = await hub.settled(lathe)
    assert isinstance(ended, OperationSucceeded)


@on_both_servers
async def test_a_task_of_which_there_is_more_to_say_than_fits_into_a_letter_is_kept(hub: Hub):
    start = command("start", "lathe-abc234", "lathe")
    state = sketch_tool("lathe-abc234", "lathe").model_dump(mode="json")
    state["release"]["manifest"]["environment"] = {"k" * 700_000: 1}
    data = {"operation": start.operation, "tool": start.tool, "fence": 7, "deadline": "2026-11-21T00:00:00Z"}
    subject = f"machete.task.v1.orchestrator.build.{start.operation}"
    said = {**envelope(start, subject=subject, type=BuildRelease.type), "data": {**data, "subject_tool": state}}
    await hub.raw(TASKS, subject, json.dumps(said).encode())
    hub.hire("orchestrator", "only")
    await hub.empty(TASKS)
    (letter,) = await hub.letters()
    assert "environment.kkk" in letter.reason
    assert [each.outcome for each in await hub.answers(start)] == ["failed"]


@on_both_servers
async def test_a_task_that_ends_the_process_each_time_is_given_up(hub: Hub):
    hub.hire("installer", "installer", jobs=BUILDS)
    lathe = install("lathe")
    await hub.submit(lathe)
    names = [f"number-{number}" for number in range(5)]
    for name in names:
        await hub.hire("orchestrator", name, jobs={"lathe": Job(tasks=True, kills=True)}).dead()
    hub.hire("orchestrator", "last", jobs=BUILDS)
    (ended,) = await hub.settled(lathe)
    assert isinstance(ended, OperationFailed)
    assert ended.error.code == "given_up"
    assert [each.worker for each in hub.effects.of(lathe.operation, "build")] == names
    (letter,) = await hub.letters()
    assert (letter.stream, letter.tool, letter.operation) == ("TASKS", lathe.tool, lathe.operation)


@on_both_servers
async def test_a_task_that_waits_for_the_engine_is_begun_once_however_long_it_waits(hub: Hub):
    """Whoever takes it over has as many attempts left as if the engine had been there."""
    hub.hire("installer", "installer", jobs=BUILDS)
    away = hub.folder / "away"
    away.touch()
    first = hub.hire("orchestrator", "first", jobs={"lathe": Job(tasks=True, away=away)})
    lathe = install("lathe")
    await hub.submit(lathe)
    await hub.says(lathe, "waiting: the engine does not answer", times=MAX_DELIVERIES)
    first.kill()
    hub.hire("orchestrator", "second", jobs=BUILDS)
    (ended,) = await hub.settled(lathe)
    assert isinstance(ended, OperationSucceeded)


@on_both_servers
async def test_a_flood_of_poison_does_not_hold_up_a_healthy_tool(hub: Hub):
    """Its commands are done although a thousand that nobody can read lie before each, for as long as it lasts."""
    tool = await hub.installed("lathe")
    hub.hire("orchestrator", "only")
    victims = [command("start", f"victim-{letter}bcdef", "victim") for letter in "abcdefghijklmnopqrst"]
    sent, over = 0, asyncio.Event()

    async def flood() -> None:
        nonlocal sent
        while not over.is_set():
            if (await hub.witness.jetstream.stream_info(COMMANDS.name)).state.messages < FLOOD:
                batch = [victims[number % len(victims)] for number in range(sent, sent + 50)]
                await asyncio.gather(*(hub.raw(COMMANDS, each.subject, spoilt(each)) for each in batch))
                sent += len(batch)

    flooding = asyncio.create_task(flood())
    await eventually(lambda: sent >= FLOOD, "a thousand were sent")
    for action in ("stop", "start", "stop"):
        healthy = command(action, tool.id, tool.name)
        await hub.submit(healthy)
        assert isinstance(await hub.ended(healthy), OperationSucceeded)
    over.set()
    await flooding
    for each in victims:
        ended = await hub.ended(each, within=60)
        assert isinstance(ended, OperationFailed)
        assert ended.error.code == "undecodable"
    await hub.empty(within=60)
    assert len(await hub.letters()) == sent
