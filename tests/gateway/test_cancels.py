"""To cancel: what waits, what runs, what has ended, what never was; and what comes first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from libs.contracts.operations import (
    CancelRequested,
    OperationCancelled,
    OperationEnded,
    OperationFailed,
    OperationStarted,
    OperationSucceeded,
)
from libs.contracts.subjects import COMMAND
from tests.gateway.doors import Door, accepted, door, on_both_servers, operation, refused
from tests.gateway.ledger import Ledger
from tests.gateway.workers import Works, working
from tests.support.stage import Stage, eventually


@pytest.fixture
async def works(stage: Stage) -> AsyncGenerator[Works]:
    async with working(stage) as hands:
        yield hands


async def begun(ledger: Ledger, id: str) -> None:
    async def started() -> bool:
        return any(isinstance(event, OperationStarted) for event in await ledger.record(id))

    await eventually(started, f"{id} runs")


@pytest.mark.parametrize("id", [f"op-{'a' * 26}", "op-short", "lathe", "0"])
async def test_what_never_was_is_not_cancelled(shared: Door, shared_ledger: Ledger, id: str):
    before = await shared_ledger.extent()
    document = refused(await shared.post(f"/operations/{id}/cancel"), 404, "operation_not_found")
    assert id in document["detail"]
    assert await shared_ledger.extent() == before


@on_both_servers
async def test_what_waits_is_asked_to_end_once_however_often_it_is_repeated(
    stage: Stage, gateway: Door, ledger: Ledger
):
    id = operation(await gateway.install(name="lathe"))
    async with door(stage, gateway.data) as second:
        answers = await asyncio.gather(
            *(each.post(f"/operations/{id}/cancel") for _ in range(5) for each in (gateway, second))
        )
    assert len({answer.text for answer in answers}) == 1
    shown = accepted(answers[0])
    assert (shown["operation"]["state"], shown["operation"]["cancel_requested"]) == ("accepted", True)
    assert shown["position"] == await ledger.sequence(id, CancelRequested)
    assert len(await ledger.record(id)) == 2


@on_both_servers
async def test_what_was_cancelled_while_it_waited_ends_and_frees_its_name(stage: Stage, gateway: Door, ledger: Ledger):
    id = operation(await gateway.install(name="lathe"))
    accepted(await gateway.post(f"/operations/{id}/cancel"))
    async with working(stage) as works:
        (ended,) = await works.ended(id)
        assert isinstance(ended, OperationCancelled)
        assert works.done == []
        accepted(await gateway.install(name="lathe"))


@on_both_servers
async def test_what_runs_is_shown_as_running_and_asked_to_end(gateway: Door, ledger: Ledger, works: Works):
    works.gate.clear()
    id = operation(await gateway.install(name="lathe"))
    await begun(ledger, id)
    shown = accepted(await gateway.post(f"/operations/{id}/cancel"))["operation"]
    assert (shown["state"], shown["cancel_requested"], shown["ended_at"]) == ("running", True, None)
    (ended,) = await works.ended(id)
    assert isinstance(ended, OperationCancelled)


@on_both_servers
async def test_what_has_ended_is_not_cancelled(gateway: Door, ledger: Ledger, works: Works):
    ends: dict[str, type[OperationEnded]] = {
        "succeeded": OperationSucceeded,
        "failed": OperationFailed,
        "cancelled": OperationCancelled,
    }
    works.fails.add("failed")
    for state, kind in ends.items():
        works.gate.set() if state != "cancelled" else works.gate.clear()
        id = operation(await gateway.install(name=state))
        if state == "cancelled":
            accepted(await gateway.post(f"/operations/{id}/cancel"))
        (ended,) = await works.ended(id)
        assert isinstance(ended, kind)
        before = await ledger.extent()
        document = refused(await gateway.post(f"/operations/{id}/cancel"), 409, "operation_ended")
        assert (document["state"], document["ended_at"]) == (state, ended.ended_at.isoformat())
        assert await ledger.extent() == before


@on_both_servers
async def test_a_cancel_that_races_with_the_end_is_accepted_or_too_late(gateway: Door, works: Works):
    """Never both, and never neither: a 202 is followed by an end that answers it."""
    ids = [operation(await gateway.install(name=f"tool-{number}")) for number in range(10)]
    answers = await asyncio.gather(*(gateway.post(f"/operations/{id}/cancel") for id in ids))
    for id, answer, ended in zip(ids, answers, await works.ended(*ids), strict=True):
        if answer.status_code == 202:
            assert isinstance(ended, OperationCancelled), id
        else:
            assert refused(answer, 409, "operation_ended")["state"] == "succeeded"
            assert isinstance(ended, OperationSucceeded)


@on_both_servers
async def test_a_202_waits_for_what_is_stored_before_it_and_no_longer(gateway: Door, ledger: Ledger, works: Works):
    works.gate.clear()
    install = operation(await gateway.install(name="lathe"))
    await begun(ledger, install)
    start = accepted(await gateway.post("/tools/lathe/start", key="start"))
    stop = accepted(await gateway.post("/tools/lathe/stop"))
    assert start["waiting_for"] == [install]
    assert stop["waiting_for"] == [install, start["operation"]["id"]]
    works.gate.set()
    await works.ended(install, start["operation"]["id"], stop["operation"]["id"])
    assert accepted(await gateway.post("/tools/lathe/start", key="start"))["waiting_for"] == []
    assert works.done == [install, start["operation"]["id"], stop["operation"]["id"]]


async def test_what_is_no_command_in_a_tools_lane_is_not_waited_for_and_breaks_nothing(
    stage: Stage, gateway: Door, ledger: Ledger
):
    installed = accepted(await gateway.install(name="lathe"))["operation"]
    subject = COMMAND["start"].build({"tool": installed["tool"]})
    await stage.witness.jetstream.publish(subject, b"no envelope at all")
    body = accepted(await gateway.post("/tools/lathe/stop"))
    assert body["waiting_for"] == [installed["id"]]


async def test_now_asks_what_runs_and_what_waits_to_end(gateway: Door, ledger: Ledger, works: Works):
    works.gate.clear()
    install = operation(await gateway.install(name="lathe"))
    await begun(ledger, install)
    start = operation(await gateway.post("/tools/lathe/start"))
    gone = accepted(await gateway.uninstall("lathe", now="true"))
    assert gone["waiting_for"] == [install, start]
    ended = await works.ended(install, start, gone["operation"]["id"])
    assert [type(each) for each in ended[:2]] == [OperationCancelled, OperationCancelled]
