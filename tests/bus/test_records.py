"""Of those who append to a record at once, one wins; what was stored is known to whoever stored it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from libs.contracts.operations import OperationStarted, OperationSucceeded
from libs.contracts.tools import ToolCommand
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Conflict
from libs.runtime.bus.records import Record, Records, accepted
from tests.bus.hub import Hub, on_both_servers
from tests.bus.losing import lose_answers
from tests.bus.sketch import ADMIN, command

RACERS = 50


def start_of(each: ToolCommand, worker: str) -> OperationStarted:
    now = datetime.now(UTC)
    return OperationStarted(
        operation=each.operation,
        tool=each.tool,
        worker=worker,
        attempt=1,
        started_at=now,
        deadline=now + timedelta(minutes=1),
    )


def end_of(each: ToolCommand, fence: int) -> OperationSucceeded:
    now = datetime.now(UTC)
    return OperationSucceeded(operation=each.operation, tool=each.tool, fence=fence, effect="none", ended_at=now)


def loses_the_answer(bus: Bus, meanwhile: Callable[[], Awaitable[object]] | None = None) -> None:
    """The next message is stored, something else happens, and its acknowledgement never arrives."""
    left = [1]

    async def lost(subject: str, payload: bytes) -> bool:
        if not left:
            return False
        left.pop()
        if meanwhile is not None:
            await meanwhile()
        return True

    lose_answers(bus, lost)


@on_both_servers
async def test_of_fifty_who_append_at_once_one_wins(hub: Hub):
    start = command("start", "lathe-aaaaaa", "lathe")
    records = Records(hub.witness)
    record = await records.append(Record(), accepted(start))

    async def race(number: int) -> str:
        try:
            await records.append(record, start_of(start, f"worker-{number}"))
        except Conflict:
            return "lost"
        return "won"

    results = await asyncio.gather(*(race(number) for number in range(RACERS)))
    assert Counter(results) == {"won": 1, "lost": RACERS - 1}
    assert len((await records.read(start.tool, start.operation)).entries) == 2


@on_both_servers
async def test_an_append_whose_answer_was_lost_is_found_by_its_id(hub: Hub):
    start = command("start", "lathe-aaaaaa", "lathe")
    records = Records(hub.witness)
    record = Record()
    for event in (accepted(start), start_of(start, "w")):
        loses_the_answer(hub.witness)
        record = await records.append(record, event)
    loses_the_answer(hub.witness)
    record = await records.append(record, end_of(start, record.fence))
    assert record == await records.read(start.tool, start.operation)
    assert len(record.entries) == 3
    assert record.ended is not None


@on_both_servers
async def test_an_append_whose_answer_was_lost_is_found_although_others_went_on_behind_it(hub: Hub):
    """The record that comes back may be a step behind on the oldest server: then the next append says so."""
    start = command("start", "lathe-aaaaaa", "lathe")
    records = Records(hub.witness)
    record = await records.append(Record(), accepted(start))
    others = Records(hub.gateway)
    loses_the_answer(hub.witness, lambda: others.request_cancel(start.tool, start.operation, ADMIN))
    begun = await records.append(record, start_of(start, "w"))
    assert len(begun.starts) == 1
    whole = await records.read(start.tool, start.operation)
    assert [entry.sequence for entry in whole.entries][:2] == [entry.sequence for entry in begun.entries][:2]
    assert len(whole.entries) == 3
    if begun.cancel is None:
        with pytest.raises(Conflict):
            await records.append(begun, end_of(start, begun.fence))


@on_both_servers
async def test_a_worker_that_lost_its_fence_appends_nothing(hub: Hub):
    start = command("start", "lathe-aaaaaa", "lathe")
    records = Records(hub.witness)
    record = await records.append(Record(), accepted(start))
    old = await records.append(record, start_of(start, "old"))
    new = await records.append(old, start_of(start, "new"))
    with pytest.raises(Conflict):
        await records.append(old, end_of(start, old.fence))
    ended = await records.append(new, end_of(start, new.fence))
    with pytest.raises(Conflict):
        await records.append(new, end_of(start, new.fence))
    assert await records.read(start.tool, start.operation) == ended


@on_both_servers
async def test_a_record_is_read_whole_whatever_else_is_stored_between(hub: Hub):
    start, other = (command("start", tool, "lathe") for tool in ("lathe-aaaaaa", "lathe-bbbbbb"))
    records = Records(hub.witness)
    assert await records.read(start.tool, start.operation) == Record()
    mine = await records.append(Record(), accepted(start))
    theirs = await records.append(Record(), accepted(other))
    for number in range(4):
        mine = await records.append(mine, start_of(start, f"w{number}"))
        theirs = await records.append(theirs, start_of(other, f"w{number}"))
    assert await records.read(start.tool, start.operation) == mine
    assert await records.read(other.tool, other.operation) == theirs
    assert mine.position == mine.entries[0].sequence


@on_both_servers
async def test_a_cancel_request_needs_a_record_that_has_begun_and_not_ended(hub: Hub):
    start = command("start", "lathe-aaaaaa", "lathe")
    records = Records(hub.witness)
    assert await records.request_cancel(start.tool, start.operation, ADMIN) == Record()
    record = await records.append(Record(), accepted(start))
    record = await records.append(record, start_of(start, "w"))
    ended = await records.append(record, end_of(start, record.fence))
    assert await records.request_cancel(start.tool, start.operation, ADMIN) == ended
