"""A gateway that dies on the way to its 202, at every step of it; and what a repetition finds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from libs.contracts.operations import OperationSucceeded
from tests.gateway.doors import Door, accepted, on_both_servers, operation, refused
from tests.gateway.keeper import STEPS, Keeper, dies, keeper
from tests.gateway.ledger import Ledger
from tests.gateway.workers import working
from tests.support.stage import Stage

INSTALL_DIES = [("before", "id"), *(("after", step) for step in STEPS)]
CHANGE_DIES = [("before", "command"), ("after", "command"), ("after", "accepted")]


async def install_killed(stage: Stage, data: Path, when: str, step: str, key: str | None = "key") -> None:
    """An install of `lathe`, to a gateway that dies at this step and answers nothing."""
    async with keeper(stage, data, halt=(when, step)) as doomed:
        await dies(doomed, doomed.install(key, name="lathe"))


@pytest.mark.parametrize(("when", "step"), INSTALL_DIES)
@on_both_servers
async def test_an_install_whose_gateway_died_is_completed_by_a_repetition_under_its_key(
    stage: Stage, gateway: Door, ledger: Ledger, when: str, step: str
):
    await install_killed(stage, gateway.data, when, step)
    body = accepted(await gateway.install("key", name="lathe"))
    command = await ledger.accepted_once(body["operation"]["id"])
    holder = await ledger.holder("lathe")
    assert holder is not None
    assert (holder.tool, holder.operation) == (command.tool, command.operation)
    assert len(await ledger.commands()) == len(await ledger.record()) == 1
    assert accepted(await gateway.install("key", name="lathe")) == body


@pytest.mark.parametrize(("when", "step"), CHANGE_DIES)
@on_both_servers
async def test_a_change_whose_gateway_died_is_completed_by_a_repetition_under_its_key(
    stage: Stage, gateway: Door, ledger: Ledger, when: str, step: str
):
    install = operation(await gateway.install(name="lathe"))
    async with keeper(stage, gateway.data, halt=(when, step)) as doomed:
        await dies(doomed, doomed.post("/tools/lathe/start", key="key"))
    body = accepted(await gateway.post("/tools/lathe/start", key="key"))
    await ledger.accepted_once(body["operation"]["id"])
    assert len(await ledger.commands()) == len(await ledger.record()) == 2
    assert body["waiting_for"] == [install]
    assert accepted(await gateway.post("/tools/lathe/start", key="key")) == body


@pytest.mark.parametrize("step", ["command", "accepted"])
@on_both_servers
async def test_what_was_stored_is_carried_out_although_nobody_was_told(
    stage: Stage, gateway: Door, ledger: Ledger, step: str
):
    """The worker writes what the gateway did not get to; whoever asks again under the key finds it done."""
    await install_killed(stage, gateway.data, "after", step)
    (command,) = await ledger.commands()
    async with working(stage) as works:
        (ended,) = await works.ended(command.operation)
        assert isinstance(ended, OperationSucceeded)
        shown = accepted(await gateway.install("key", name="lathe"))["operation"]
        assert (shown["id"], shown["state"]) == (command.operation, "succeeded")
        assert works.done == [command.operation]
    assert await ledger.commands() == []


@pytest.mark.parametrize("step", ["command", "accepted"])
@on_both_servers
async def test_another_body_is_refused_although_the_gateway_died_in_the_middle(
    stage: Stage, gateway: Door, ledger: Ledger, step: str
):
    """With no record there yet, the stored command tells what was asked for."""
    await install_killed(stage, gateway.data, "after", step)
    (command,) = await ledger.commands()
    before = await ledger.extent()
    document = refused(await gateway.install("key", name="lathe", start=True), 422, "idempotency_key_reused")
    assert document["operation"] == command.operation
    assert await ledger.extent() == before
    assert operation(await gateway.install("key", name="lathe")) == command.operation


@pytest.mark.parametrize("step", ["id", "name"])
@on_both_servers
async def test_before_its_command_is_stored_nothing_was_asked_for_yet(
    stage: Stage, gateway: Door, ledger: Ledger, step: str
):
    await install_killed(stage, gateway.data, "after", step)
    assert await ledger.commands() == []
    assert await ledger.record() == []
    await ledger.accepted_once(operation(await gateway.install("key", name="lathe", start=True)))


@on_both_servers
async def test_a_cancel_whose_gateway_died_is_found_by_its_repetition(stage: Stage, gateway: Door, ledger: Ledger):
    id = operation(await gateway.install(name="lathe"))
    async with keeper(stage, gateway.data, halt=("after", "accepted")) as doomed:
        await dies(doomed, doomed.post(f"/operations/{id}/cancel"))
    assert accepted(await gateway.post(f"/operations/{id}/cancel"))["operation"]["cancel_requested"]
    assert len(await ledger.record(id)) == 2


async def test_gateways_killed_under_load_lose_no_202(stage: Stage, gateway: Door, ledger: Ledger):
    """Twice eight clients at once, at a gateway that dies after three answers; all of it repeated at another."""
    answered: dict[str, str] = {}
    for life in range(2):
        async with keeper(stage, gateway.data) as doomed, asyncio.TaskGroup() as group:

            async def ask(doomed: Keeper, name: str, life: int) -> None:
                try:
                    answered[name] = operation(await doomed.install(name, name=name))
                except httpx.TransportError:
                    return
                if len(answered) >= 3 * (life + 1):
                    doomed.kill()

            for number in range(8):
                group.create_task(ask(doomed, f"tool-{life}-{number}", life))
    assert 6 <= len(answered) <= 16
    for id in answered.values():
        await ledger.accepted_once(id)
    for name in (f"tool-{life}-{number}" for life in range(2) for number in range(8)):
        id = operation(await gateway.install(name, name=name))
        assert answered.get(name, id) == id
        await ledger.accepted_once(id)
    assert len(await ledger.commands()) == 16
