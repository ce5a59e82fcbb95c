"""Dead letters are listed, shown, retried once and dropped, by administrators alone, and a retry is an operation."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest

from libs.contracts.letters import DeadLetter
from libs.contracts.names import new_operation_id, random_word
from libs.contracts.operations import OperationAccepted, OperationFailed, Recorded
from libs.contracts.streams import COMMANDS, DEAD_LETTERS, STATES, Reservation
from libs.contracts.tools import COMMAND_TYPES, InstallTool, ToolCommand, ToolRecorded, UninstallTool
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.names import Names
from tests.bus.sketch import command, install, tool
from tests.gateway.doors import Door, accepted, on_both_servers, operation, refused
from tests.gateway.ledger import Ledger
from tests.gateway.workers import working
from tests.support.stage import Stage, eventually


async def kept(bus: Bus, payload: bytes | ToolCommand, subject: str | None = None, stream: str = "COMMANDS") -> str:
    """The id of a letter, as a worker keeps it."""
    named = payload if isinstance(payload, ToolCommand) else None
    raw = bus_form(payload) if isinstance(payload, ToolCommand) else payload
    letter = DeadLetter(
        stream=stream,
        tool=named.tool if named else "unknown",
        subject_was=subject or (named.subject if named else "machete.cmd.v1.tool.lathe-abc234.start"),
        sequence=int.from_bytes(random_word(3).encode()),
        deliveries=4,
        reason="given up after 4 attempts",
        operation=named.operation if named else None,
        payload=raw.decode(errors="backslashreplace"),
        given_up_at=datetime.now(UTC),
    )
    stored = await bus.publish(DEAD_LETTERS, letter)
    return f"dl-{stored.sequence}"


def bus_form(command: ToolCommand) -> bytes:
    data = command.model_dump(mode="json", exclude_none=True)
    head = {"specversion": "1.0", "id": command.operation, "source": "gateway/x", "type": command.type}
    return json.dumps(
        {**head, "subject": command.subject, "time": datetime.now(UTC).isoformat(), "data": data}
    ).encode()


async def there(stage: Stage, name: str) -> str:
    """The id of a tool that was installed long ago."""
    made = install(name)
    names = Names(stage.witness)
    reservation = Reservation(tool=made.tool, operation=made.operation, reserved_at=1.0)
    assert await names.reserve(name, reservation, (await names.find(name)).revision)
    recorded = ToolRecorded(tool=made.tool, fence=0, operation=made.operation, state=tool(made.tool, name))
    await stage.witness.publish(STATES, recorded, expected=0)
    return made.tool


async def listed(gateway: Door) -> list[str]:
    answer = await gateway.client.get("/api/v1/dead-letters")
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["letters"]]


@on_both_servers
async def test_letters_are_listed_page_by_page_the_oldest_first(stage: Stage, gateway: Door):
    assert await listed(gateway) == []
    ids = [await kept(stage.witness, f"letter {number}".encode()) for number in range(7)]
    seen: list[str] = []
    after = None
    for expected in (3, 3, 1):
        page = (
            await gateway.client.get("/api/v1/dead-letters", params={"limit": 3, **({"after": after} if after else {})})
        ).json()
        assert len(page["letters"]) == expected
        seen += [each["id"] for each in page["letters"]]
        after = page["next"]
    assert (seen, after) == (ids, None)
    refused(await gateway.client.get("/api/v1/dead-letters", params={"after": "nonsense"}), 400, "cursor_invalid")


async def test_a_letter_is_shown_whole_and_says_whether_it_can_be_retried(stage: Stage, gateway: Door):
    start = command("start", await there(stage, "lathe"), "lathe")
    good, bad = await kept(stage.witness, start), await kept(stage.witness, b"\xff no JSON \x1b[31m")
    shown = (await gateway.client.get(f"/api/v1/dead-letters/{good}")).json()
    assert (shown["operation"], shown["tool"], shown["refusal"]) == (start.operation, start.tool, None)
    assert json.loads(shown["payload"])["data"]["tool"] == start.tool
    assert (shown["reason"], shown["deliveries"], shown["stream"]) == ("given up after 4 attempts", 4, "COMMANDS")
    other = (await gateway.client.get(f"/api/v1/dead-letters/{bad}")).json()
    assert other["payload"] == "\\xff no JSON \x1b[31m"
    assert "cannot be read" in other["refusal"]


@pytest.mark.parametrize("id", ["dl-1", "dl-0", "dl--1", "dl-99999999999999999999", "1", "..", "dl-１"])
async def test_a_letter_that_is_not_there_is_not_found(gateway: Door, id: str):
    path = f"/api/v1/dead-letters/{id}".replace("..", "%2E%2E")
    for method, more in (("GET", ""), ("DELETE", ""), ("POST", "/retry")):
        refused(await gateway.client.request(method, path + more), 404, "dead_letter_not_found")


@on_both_servers
async def test_a_dropped_letter_is_gone_and_no_other(stage: Stage, gateway: Door):
    first, second, third = [await kept(stage.witness, b"?") for _ in range(3)]
    assert (await gateway.client.delete(f"/api/v1/dead-letters/{second}")).status_code == 204
    assert await listed(gateway) == [first, third]
    refused(await gateway.client.delete(f"/api/v1/dead-letters/{second}"), 404, "dead_letter_not_found")
    refused(await gateway.post(f"/dead-letters/{second}/retry"), 404, "dead_letter_not_found")


@on_both_servers
@pytest.mark.parametrize("action", sorted(set(COMMAND_TYPES) - {"install"}))
async def test_a_retry_is_a_new_operation_of_whoever_retries_and_the_letter_leaves_the_list(
    stage: Stage, gateway: Door, ledger: Ledger, action: str
):
    old = command(action, await there(stage, "lathe"), "lathe")
    if isinstance(old, UninstallTool):
        old = old.model_copy(update={"data": True})
    letter = await kept(stage.witness, old)
    id = operation(await gateway.post(f"/dead-letters/{letter}/retry", key="once"))
    new = await ledger.accepted_once(id)
    own = {"operation", "requested_by", "digest", "retry_of"}
    assert new.model_dump(exclude=own) == old.model_dump(exclude=own)
    assert id != old.operation
    assert (new.requested_by.label, new.retry_of) == ("user:admin", old.operation)
    (begun,) = await ledger.record(id)
    assert isinstance(begun, OperationAccepted)
    assert begun.retry_of == old.operation
    assert await ledger.record(old.operation) == []
    assert await listed(gateway) == []


async def test_a_retried_install_has_a_name_and_an_id_of_its_own(stage: Stage, gateway: Door, ledger: Ledger):
    old = install("lathe")
    letter = await kept(stage.witness, old)
    new = await ledger.accepted_once(operation(await gateway.post(f"/dead-letters/{letter}/retry")))
    assert isinstance(new, InstallTool)
    assert (new.source, new.start, new.tool_name) == (old.source, old.start, "lathe")
    assert new.tool != old.tool
    holder = await ledger.holder("lathe")
    assert holder is not None
    assert (holder.tool, holder.operation) == (new.tool, new.operation)


async def test_a_retry_repeated_under_its_key_is_the_same_operation(stage: Stage, gateway: Door, ledger: Ledger):
    tool_id = await there(stage, "lathe")
    first, second = [await kept(stage.witness, command("start", tool_id, "lathe")) for _ in range(2)]
    path = f"/dead-letters/{first}/retry"
    ids = {operation(each) for each in await asyncio.gather(*(gateway.post(path, key="mine") for _ in range(5)))}
    assert ids == {operation(await gateway.post(path, key="mine"))}
    assert len(await ledger.commands()) == 1
    refused(await gateway.post(f"/dead-letters/{second}/retry", key="mine"), 422, "idempotency_key_reused")
    refused(await gateway.post("/tools/lathe/start", key="mine"), 422, "idempotency_key_reused")
    refused(await gateway.post(path, key="another"), 404, "dead_letter_not_found")
    assert await listed(gateway) == [second]


async def test_retries_at_once_without_a_key_are_one_operation(stage: Stage, gateway: Door, ledger: Ledger):
    letter = await kept(stage.witness, command("start", await there(stage, "lathe"), "lathe"))
    answers = await asyncio.gather(*(gateway.post(f"/dead-letters/{letter}/retry") for _ in range(8)))
    assert len({operation(each) for each in answers if each.status_code == 202}) == 1
    assert {each.status_code for each in answers} <= {202, 404}
    assert len(await ledger.commands()) == 1


async def test_a_letter_left_by_a_gateway_that_died_over_its_retry_is_not_done_twice(
    stage: Stage, gateway: Door, ledger: Ledger
):
    """It was accepted, and the letter not yet taken out: it stands in the list as it was."""
    start = command("start", await there(stage, "lathe"), "lathe")
    letter = await kept(stage.witness, start)
    (message,) = [each async for each in stage.witness.each(DEAD_LETTERS, ">")]
    first = operation(await gateway.post(f"/dead-letters/{letter}/retry", key="k"))
    again = await stage.witness.jetstream.publish(message.subject, message.data)
    assert await listed(gateway) == [f"dl-{again.seq}"]
    refused(await gateway.post(f"/dead-letters/dl-{again.seq}/retry", key="k"), 422, "idempotency_key_reused")
    assert [each.operation for each in await ledger.commands()] == [first]


BROKEN = {
    "no JSON": b"no JSON",
    "another version": b'{"specversion": "2.0", "id": "x", "type": "machete.command.start-tool.v2"}',
    "an unknown type": bus_form(command("start", "lathe-abc234", "lathe")).replace(b"start-tool.v1", b"explode.v1"),
    "a truncated one": bus_form(command("start", "lathe-abc234", "lathe"))[:-20],
    "no command": b"[]",
    "nothing": b"",
}


@pytest.mark.parametrize("what", BROKEN)
async def test_what_cannot_be_read_is_not_retried_and_stays(stage: Stage, gateway: Door, ledger: Ledger, what: str):
    letter = await kept(stage.witness, BROKEN[what])
    said = refused(await gateway.post(f"/dead-letters/{letter}/retry"), 409, "dead_letter_not_retryable")
    assert "ask for what it was meant for anew" in said["detail"]
    assert await ledger.commands() == []
    assert await listed(gateway) == [letter]


async def test_a_body_about_another_tool_than_its_subject_is_not_retried(stage: Stage, gateway: Door, ledger: Ledger):
    start = command("start", await there(stage, "lathe"), "lathe")
    letter = await kept(stage.witness, start, subject="machete.cmd.v1.tool.other-abc234.start")
    refused(await gateway.post(f"/dead-letters/{letter}/retry"), 409, "dead_letter_not_retryable")
    assert await ledger.commands() == []


async def test_a_task_is_not_retried(stage: Stage, gateway: Door):
    letter = await kept(stage.witness, b"{}", "machete.task.v1.orchestrator.build.op", "TASKS")
    said = refused(await gateway.post(f"/dead-letters/{letter}/retry"), 409, "dead_letter_not_retryable")
    assert "part of an operation that has ended" in said["detail"]


async def test_a_tool_that_is_gone_and_a_name_that_is_taken_are_told_with_the_way_out(stage: Stage, gateway: Door):
    await there(stage, "lathe")
    gone = await kept(stage.witness, command("start", "lathe-zzzzzz", "lathe"))
    nobody = await kept(stage.witness, command("stop", "mill-zzzzzz", "mill"))
    taken = await kept(stage.witness, install("lathe"))
    for letter, code in ((gone, "tool_gone"), (nobody, "tool_gone"), (taken, "name_taken")):
        said = refused(await gateway.post(f"/dead-letters/{letter}/retry"), 409, code)
        assert letter in said["detail"]
        assert "drop the letter" in said["detail"]
    assert await listed(gateway) == [gone, nobody, taken]


async def test_a_kept_install_from_where_nothing_is_let_in_is_refused_as_any_other(stage: Stage, gateway: Door):
    """What was put into the stream by hand is checked as if it had come over HTTP."""
    old = install("lathe")
    source = old.source.model_copy(update={"git_url": "file:///etc"})
    letter = await kept(stage.witness, old.model_copy(update={"source": source}))
    refused(await gateway.post(f"/dead-letters/{letter}/retry"), 409, "dead_letter_not_retryable")
    assert await listed(gateway) == [letter]


async def test_what_a_worker_could_not_read_is_found_and_a_retried_command_is_carried_out(
    stage: Stage, gateway: Door, ledger: Ledger
):
    """The whole road, with a real worker."""
    async with working(stage) as works:
        tool_id = await there(stage, "lathe")
        id = new_operation_id("somebody", None)
        spoilt = json.dumps({"specversion": "1.0", "data": {"operation": id}}).encode()
        await stage.witness.jetstream.publish(f"machete.cmd.v1.tool.{tool_id}.start", spoilt, stream=COMMANDS.name)

        async def failed() -> bool:
            events: list[Recorded] = await ledger.record(id)
            return any(isinstance(each, OperationFailed) and each.error.code == "undecodable" for each in events)

        await eventually(failed, "its operation fails visibly")
        (unreadable,) = await listed(gateway)
        refused(await gateway.post(f"/dead-letters/{unreadable}/retry"), 409, "dead_letter_not_retryable")
        letter = await kept(stage.witness, command("start", tool_id, "lathe"))
        again = accepted(await gateway.post(f"/dead-letters/{letter}/retry"))["operation"]["id"]
        await eventually(lambda: again in works.done, "the retried command is carried out")
        assert await listed(gateway) == [unreadable]
