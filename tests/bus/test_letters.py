"""What cannot be handled is kept with its reason, ends visibly, and holds up nobody."""

from __future__ import annotations

import json

import pytest

from libs.contracts.operations import OperationFailed, OperationSucceeded
from libs.contracts.streams import COMMANDS, TASKS
from libs.contracts.tools import ToolCommand
from tests.bus.effects import assert_well_formed
from tests.bus.hub import Hub, on_both_servers
from tests.bus.orders import Job
from tests.bus.sketch import command

NOT_OURS = ("no JSON at all", json.dumps({"type": "machete.command.start-tool.v1"}), "[]", '{"data": {"operation": 7}}')


@on_both_servers
async def test_what_is_no_message_of_ours_is_kept_and_holds_up_nobody(hub: Hub):
    tool = await hub.installed("lathe")
    for text in NOT_OURS:
        await hub.raw(COMMANDS, f"machete.cmd.v1.tool.{tool.id}.start", text.encode())
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    hub.hire("orchestrator", "only")
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationSucceeded)
    letters = await hub.letters()
    assert [letter.payload for letter in letters] == list(NOT_OURS)
    assert all(letter.reason and letter.tool == tool.id and letter.stream == "COMMANDS" for letter in letters)


@on_both_servers
async def test_the_operation_of_a_command_that_cannot_be_read_fails(hub: Hub):
    tool = await hub.installed("lathe")
    start = command("start", tool.id, tool.name)
    await hub.raw(COMMANDS, start.subject, spoilt(start))
    await hub.accept(start)
    hub.hire("orchestrator", "only")
    ended = await hub.ended(start)
    assert isinstance(ended, OperationFailed)
    assert ended.error.code == "undecodable"
    assert ended.effect == "none"
    await hub.empty()
    (letter,) = await hub.letters()
    assert letter.operation == start.operation


@on_both_servers
async def test_an_unreadable_command_whose_acceptance_is_still_on_its_way_has_a_whole_record(hub: Hub):
    """The gateway appends `accepted` right after the command; the worker may be faster."""
    tool = await hub.installed("lathe")
    hub.hire("orchestrator", "only")
    start = command("start", tool.id, tool.name)
    await hub.raw(COMMANDS, start.subject, spoilt(start))
    await hub.eventually(hub.letters, "it is kept")
    await hub.accept(start)
    await hub.ended(start)
    assert_well_formed(await hub.record(start))
    await hub.empty()


@pytest.mark.parametrize("tool_token", ["Ünïcode!", "a" * 300, "x"])
@pytest.mark.parametrize("payload", [b"\x00\xff" * 200_000, None])
async def test_hostile_commands_are_kept_as_far_as_they_can_be(hub: Hub, tool_token: str, payload: bytes | None):
    """Names that are no names, and bodies that would not fit into a letter as they are."""
    tool = await hub.installed("lathe")
    start = command("start", tool.id, tool.name)
    subject = f"machete.cmd.v1.tool.{tool_token}.start"
    await hub.raw(COMMANDS, subject, payload or spoilt(start))
    hub.hire("orchestrator", "only")
    await hub.empty()
    (letter,) = await hub.letters()
    assert letter.subject_was == subject
    assert letter.reason


@on_both_servers
@pytest.mark.parametrize("told", [True, False])
async def test_a_task_that_cannot_be_read_is_kept_and_its_owner_told(hub: Hub, told: bool):
    tool = await hub.installed("lathe")
    start = command("start", tool.id, tool.name)
    data = {"operation": start.operation, "tool": tool.id, **({"fence": 7} if told else {})}
    subject = f"machete.task.v1.orchestrator.build.{start.operation}"
    await hub.raw(TASKS, subject, json.dumps({"data": data}).encode())
    hub.hire("orchestrator", "only")
    await hub.empty(TASKS)
    (letter,) = await hub.letters()
    assert letter.stream == "TASKS"
    answers = [(each.what, each.fence, each.outcome) for each in await hub.answers(start)]
    assert answers == ([("orchestrator.build", 7, "failed")] if told else [])


@on_both_servers
async def test_a_stop_now_behind_an_unreadable_command_is_done(hub: Hub):
    tool = await hub.installed("lathe")
    await hub.raw(COMMANDS, f"machete.cmd.v1.tool.{tool.id}.install", b"?")
    stop = command("stop", tool.id, tool.name, now=True)
    await hub.submit(stop)
    hub.hire("orchestrator", "only")
    hub.hire("installer", "other")
    (ended,) = await hub.settled(stop)
    assert isinstance(ended, OperationSucceeded)


@on_both_servers
async def test_a_handler_that_breaks_is_tried_again_and_recovered_in_the_end(hub: Hub):
    tool = await hub.installed("lathe")
    hub.hire("orchestrator", "only", jobs={"lathe": Job(breaks=True)})
    start = command("start", tool.id, tool.name)
    await hub.submit(start)
    (ended,) = await hub.settled(start)
    assert isinstance(ended, OperationFailed)
    assert ended.error.code == "internal_error"
    assert ended.effect == "changed"
    assert [each.what for each in hub.effects.stretches()] == ["act", "act", "act", "recover"]
    assert len((await hub.record(start)).starts) == 4
    hub.forgive("nobody foresaw this")


def spoilt(command: ToolCommand) -> bytes:
    """As it is sent, by somebody whose idea of a command is another one."""
    data = command.model_dump(mode="json", exclude={"requested_by"})
    return json.dumps({"specversion": "1.0", "id": command.operation, "type": command.type, "data": data}).encode()
