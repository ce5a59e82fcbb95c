"""A name belongs to one tool at a time, whoever wants it and whoever died holding it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from libs.contracts.names import new_operation_id, tool_id
from libs.contracts.operations import OperationFailed, OperationSucceeded
from libs.contracts.streams import Reservation
from libs.runtime.bus.names import Names
from services.gateway.domain.reservations import DEAD_AFTER
from services.gateway.handlers import Gateway
from tests.gateway.doors import Door, accepted, door, on_both_servers, operation, refused
from tests.gateway.keeper import PAUSE, dies, keeper
from tests.gateway.ledger import Ledger
from tests.gateway.workers import working
from tests.support.clocks import set_apart
from tests.support.stage import Stage

Later = Callable[[float], None]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """Makes it later for the gateways in this process, by so many seconds from now."""

    def set_forward(seconds: float) -> None:
        def now(gateway: Gateway) -> float:
            return time.time() + seconds

        monkeypatch.setattr(Gateway, "_now", now)

    return set_forward


@pytest.fixture
async def abandoned(stage: Stage, gateway: Door, ledger: Ledger) -> Reservation:
    """`lathe`, reserved by a gateway that died before it published its command."""
    async with keeper(stage, gateway.data, halt=("after", "name")) as doomed:
        await dies(doomed, doomed.install("dead", name="lathe"))
    held = await ledger.holder("lathe")
    assert held is not None
    return held


@on_both_servers
async def test_of_fifty_who_want_a_name_one_gets_it(stage: Stage, gateway: Door, ledger: Ledger):
    async with door(stage, gateway.data) as second:
        answers = await asyncio.gather(
            *(each.install(name="lathe", ref=f"v{number}") for number in range(25) for each in (gateway, second))
        )
    (won,) = [answer for answer in answers if answer.status_code == 202]
    shown = accepted(won)["operation"]
    for answer in answers:
        if answer is not won:
            document = refused(answer, 409, "name_taken")
            assert (document["tool"], document["operation"]) == (shown["tool"], shown["id"])
    held = await ledger.holder("lathe")
    assert held is not None
    assert (held.tool, held.operation) == (shown["tool"], shown["id"])
    await ledger.accepted_once(shown["id"])
    assert len(await ledger.commands()) == 1


@on_both_servers
async def test_a_name_whose_gateway_died_is_held_for_a_minute_and_then_given_away(
    gateway: Door, ledger: Ledger, abandoned: Reservation, later: Later
):
    assert DEAD_AFTER == 60
    later(DEAD_AFTER - 10)
    refusal = refused(await gateway.install(name="lathe"), 409, "name_taken")
    assert refusal["tool"] == abandoned.tool
    later(DEAD_AFTER + 1)
    shown = accepted(await gateway.install(name="lathe"))["operation"]
    held = await ledger.holder("lathe")
    assert held is not None
    assert (held.tool, held.operation) == (shown["tool"], shown["id"])
    assert held.tool != abandoned.tool
    command = await ledger.accepted_once(shown["id"])
    assert command.tool == held.tool


async def test_a_gateway_whose_clock_is_ahead_takes_no_name_sooner(
    stage: Stage, ledger: Ledger, gateway: Door, abandoned: Reservation, monkeypatch: pytest.MonkeyPatch
):
    set_apart(monkeypatch, timedelta(hours=1))
    async with door(stage, gateway.data) as hasty:
        assert refused(await hasty.install(name="lathe"), 409, "name_taken")["tool"] == abandoned.tool
    held = await ledger.holder("lathe")
    assert held is not None
    assert held.tool == abandoned.tool


async def test_the_late_repetition_of_the_one_who_lost_the_name_is_told_so(
    gateway: Door, ledger: Ledger, abandoned: Reservation, later: Later
):
    later(DEAD_AFTER + 1)
    holder = operation(await gateway.install(name="lathe"))
    document = refused(await gateway.install("dead", name="lathe"), 409, "name_taken")
    assert document["operation"] == holder
    assert await ledger.commands(abandoned.operation) == []


async def test_the_late_repetition_of_the_one_who_still_holds_it_goes_on(
    gateway: Door, ledger: Ledger, abandoned: Reservation, later: Later
):
    later(DEAD_AFTER + 1000)
    shown = accepted(await gateway.install("dead", name="lathe"))["operation"]
    assert (shown["id"], shown["tool"]) == (abandoned.operation, abandoned.tool)


@on_both_servers
async def test_of_twenty_who_take_an_abandoned_name_over_one_gets_it(
    stage: Stage, gateway: Door, ledger: Ledger, abandoned: Reservation, later: Later
):
    later(DEAD_AFTER + 1)
    async with door(stage, gateway.data) as second:
        answers = await asyncio.gather(*(each.install(name="lathe") for _ in range(10) for each in (gateway, second)))
    (won,) = [answer for answer in answers if answer.status_code == 202]
    for answer in answers:
        if answer is not won:
            assert refused(answer, 409, "name_taken")["operation"] == operation(won)
    held = await ledger.holder("lathe")
    assert held is not None
    assert held.operation == operation(won)
    assert len(await ledger.commands()) == 1


@on_both_servers
async def test_a_name_is_never_taken_from_a_command_that_waits(gateway: Door, ledger: Ledger, later: Later):
    """However long it waits: it was accepted."""
    id = operation(await gateway.install(name="lathe"))
    later(30 * 86_400)
    assert refused(await gateway.install(name="lathe"), 409, "name_taken")["operation"] == id


async def test_a_name_is_never_taken_from_a_command_without_a_record_yet(
    stage: Stage, gateway: Door, ledger: Ledger, later: Later
):
    async with keeper(stage, gateway.data, halt=("after", "command")) as doomed:
        await dies(doomed, doomed.install(name="lathe"))
    later(DEAD_AFTER + 1)
    refused(await gateway.install(name="lathe"), 409, "name_taken")


@on_both_servers
async def test_a_name_is_never_taken_from_a_tool_that_is_there_or_being_made(stage: Stage, gateway: Door, later: Later):
    async with working(stage) as works:
        works.gate.clear()
        id = operation(await gateway.install(name="lathe"))
        later(30 * 86_400)
        refused(await gateway.install(name="lathe"), 409, "name_taken")
        works.gate.set()
        (ended,) = await works.ended(id)
        assert isinstance(ended, OperationSucceeded)
        refused(await gateway.install(name="lathe"), 409, "name_taken")


@on_both_servers
async def test_a_name_is_free_after_an_uninstall_and_after_an_install_that_failed(stage: Stage, gateway: Door):
    async with working(stage) as works:
        tools: list[str] = []
        works.fails.add("lathe")
        for _ in range(2):
            shown = accepted(await gateway.install(name="lathe"))["operation"]
            (ended,) = await works.ended(shown["id"])
            assert isinstance(ended, OperationFailed)
            tools.append(shown["tool"])
        works.fails.clear()
        for _ in range(2):
            shown = accepted(await gateway.install(name="lathe"))["operation"]
            gone = operation(await gateway.uninstall("lathe"))
            await works.ended(shown["id"], gone)
            tools.append(shown["tool"])
        refused(await gateway.post("/tools/lathe/start"), 404, "tool_not_found")
    assert len(set(tools)) == 4


@on_both_servers
async def test_a_name_held_for_an_install_that_has_ended_is_given_away_at_once(
    stage: Stage, gateway: Door, ledger: Ledger
):
    """As it may be left by a repetition that slept between its look at the record and its reservation."""
    async with working(stage) as works:
        works.fails.add("lathe")
        shown = accepted(await gateway.install(name="lathe"))["operation"]
        await works.ended(shown["id"])
    names = Names(stage.witness)
    left = Reservation(tool=shown["tool"], operation=shown["id"], reserved_at=time.time())
    assert await names.reserve("lathe", left, (await names.find("lathe")).revision)
    accepted(await gateway.install(name="lathe"))


@on_both_servers
async def test_the_command_of_a_gateway_that_slept_while_its_name_was_taken_over_fails_visibly(
    stage: Stage, gateway: Door, ledger: Ledger, later: Later
):
    async with keeper(stage, gateway.data, halt=("after", "name"), signal=PAUSE) as sleeper:
        asleep = asyncio.create_task(sleeper.install("slept", name="lathe"))
        await sleeper.paused()
        later(DEAD_AFTER + 1)
        holder = accepted(await gateway.install(name="lathe"))["operation"]
        sleeper.wake()
        late = accepted(await asleep)["operation"]
    async with working(stage) as works:
        good, bad = await works.ended(holder["id"], late["id"])
    assert isinstance(good, OperationSucceeded)
    assert isinstance(bad, OperationFailed)
    assert bad.error.code == "name_taken"
    held = await ledger.holder("lathe")
    assert held is not None
    assert held.operation == holder["id"]


@on_both_servers
async def test_an_id_that_was_used_is_never_used_again(stage: Stage, gateway: Door, ledger: Ledger):
    """Ids are short enough to meet: the next one is taken, and by a repetition too."""
    id = new_operation_id("user:admin", "key")
    names = Names(stage.witness)
    assert await names.claim_id(tool_id("lathe", id, 0), "op-" + "a" * 26)
    async with keeper(stage, gateway.data, halt=("after", "id")) as doomed:
        await dies(doomed, doomed.install("key", name="lathe"))
    shown = accepted(await gateway.install("key", name="lathe"))["operation"]
    assert (shown["id"], shown["tool"]) == (id, tool_id("lathe", id, 1))
    assert not await names.claim_id(shown["tool"], "op-" + "a" * 26)


async def test_reservations_of_different_names_do_not_wait_for_each_other(gateway: Door, ledger: Ledger):
    answers = await asyncio.gather(*(gateway.install(name=f"tool-{number}") for number in range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({operation(answer) for answer in answers}) == 50
    assert len(await ledger.commands()) == 50
