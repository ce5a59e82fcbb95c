"""One Idempotency-Key is one operation: at however many gateways, however late, whatever has become of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from libs.contracts.operations import OperationFailed, OperationSucceeded
from tests.gateway.doors import GIT_URL, Door, accepted, door, on_both_servers, operation, refused
from tests.gateway.keeper import PAUSE, Keeper, keeper
from tests.gateway.ledger import Ledger
from tests.gateway.workers import Works, working
from tests.support.stage import Stage

Ask = Callable[[Door], Awaitable[httpx.Response]]


@pytest.fixture
async def second(stage: Stage, gateway: Door) -> AsyncGenerator[Door]:
    """Another gateway of the same platform."""
    async with door(stage, gateway.data) as open_door:
        yield open_door


@pytest.fixture
async def works(stage: Stage) -> AsyncGenerator[Works]:
    async with working(stage) as hands:
        yield hands


async def installed(gateway: Door, works: Works, name: str = "lathe") -> str:
    """The id of a tool that is installed."""
    shown = accepted(await gateway.install(name=name))["operation"]
    await works.ended(shown["id"])
    return shown["tool"]


def install(door: Door) -> Awaitable[httpx.Response]:
    return door.install("key", name="lathe")


def start(door: Door) -> Awaitable[httpx.Response]:
    return door.post("/tools/lathe/start", key="key")


@on_both_servers
async def test_twenty_installs_under_one_key_at_two_gateways_are_one(gateway: Door, second: Door, ledger: Ledger):
    answers = await asyncio.gather(*(install(each) for _ in range(10) for each in (gateway, second)))
    (body,) = {answer.text for answer in map(checked, answers)}
    id = operation(answers[0])
    assert body == answers[0].text
    command = await ledger.accepted_once(id)
    holder = await ledger.holder("lathe")
    assert holder is not None
    assert (holder.tool, holder.operation) == (command.tool, id)
    assert len(await ledger.commands()) == len(await ledger.record()) == 1


def checked(answer: httpx.Response) -> httpx.Response:
    accepted(answer)
    return answer


@on_both_servers
async def test_twenty_changes_under_one_key_at_two_gateways_are_one(gateway: Door, second: Door, ledger: Ledger):
    first = operation(await gateway.install(name="lathe"))
    answers = await asyncio.gather(*(start(each) for _ in range(10) for each in (gateway, second)))
    assert len({answer.text for answer in map(checked, answers)}) == 1
    await ledger.accepted_once(operation(answers[0]))
    assert answers[0].json()["waiting_for"] == [first]
    assert len(await ledger.commands()) == len(await ledger.record()) == 2


@on_both_servers
async def test_it_is_carried_out_once_while_twenty_ask_for_it(
    gateway: Door, second: Door, works: Works, ledger: Ledger
):
    """The worker is as quick as any of them: some find it accepted, some under way, some ended."""
    answers = await asyncio.gather(*(install(each) for _ in range(10) for each in (gateway, second)))
    (id,) = {operation(answer) for answer in answers}
    (ended,) = await works.ended(id)
    assert isinstance(ended, OperationSucceeded)
    assert works.done == [id]


@on_both_servers
async def test_of_different_requests_under_one_key_one_is_let_in(gateway: Door, second: Door, ledger: Ledger):
    asks = [each.install("key", name=f"tool-{number}") for number in range(5) for each in (gateway, second)]
    answers = await asyncio.gather(*asks)
    won = [answer for answer in answers if answer.status_code == 202]
    (id,) = {operation(answer) for answer in won}
    command = await ledger.accepted_once(id)
    assert {answer.json()["operation"]["tool_name"] for answer in won} == {command.tool_name}
    for answer in answers:
        if answer not in won:
            assert refused(answer, 422, "idempotency_key_reused")["operation"] == id
    assert len(await ledger.commands()) == 1


OTHERS: list[dict[str, Any]] = [
    {"name": "drill"},
    {"ref": "main"},
    {"subdir": "tools"},
    {"start": True},
    {"git_url": "https://git.example.org/tools/lathe.git"},
]


@pytest.mark.parametrize("other", OTHERS, ids=str)
async def test_another_install_under_the_same_key_is_refused(
    shared: Door, shared_ledger: Ledger, other: dict[str, Any]
):
    key = f"differs in {next(iter(other))}"
    first = {"name": f"first-{next(iter(other)).replace('_', '-')}"}
    id = operation(await shared.install(key, **first))
    before = await shared_ledger.extent()
    document = refused(await shared.install(key, **{**first, **other}), 422, "idempotency_key_reused")
    assert document["operation"] == id
    assert await shared_ledger.extent() == before


async def test_another_change_under_the_same_key_is_refused(shared: Door, shared_ledger: Ledger):
    for name in ("one", "two"):
        await shared.install(name=name)
    id = operation(await shared.post("/tools/one/stop", key="changes"))
    before = await shared_ledger.extent()
    for answer in (
        await shared.post("/tools/one/stop", key="changes", now="true"),
        await shared.post("/tools/one/start", key="changes"),
        await shared.post("/tools/one/restart", key="changes"),
        await shared.post("/tools/two/stop", key="changes"),
        await shared.uninstall("one", "changes"),
        await shared.install("changes", name="three"),
    ):
        assert refused(answer, 422, "idempotency_key_reused")["operation"] == id
    assert await shared_ledger.extent() == before


async def test_the_same_request_in_other_words_is_the_same(shared: Door, shared_ledger: Ledger):
    """What was meant counts: a name that would have been the default, a folder with a slash, an implied false."""
    first = await shared.install("words", git_url="https://git.example.org/tools/words.git", subdir="a/b")
    before = await shared_ledger.extent()
    other = {"git_url": "https://git.example.org/tools/words.git", "name": "words", "subdir": "./a//b/", "start": False}
    assert accepted(await shared.install("words", **other)) == accepted(first)
    content = f'{{"subdir":"a/b","git_url":"{other["git_url"]}"}}'
    headers = {"idempotency-key": "words", "content-type": "application/json"}
    assert accepted(await shared.client.post("/api/v1/tools", content=content, headers=headers)) == accepted(first)
    assert await shared_ledger.extent() == before


@on_both_servers
async def test_a_key_is_known_after_its_operation_has_ended(stage: Stage, gateway: Door, works: Works, ledger: Ledger):
    id = operation(await install(gateway))
    await works.ended(id)
    await stage.crash()
    before = await ledger.extent()
    shown = accepted(await install(gateway))
    assert (shown["operation"]["id"], shown["operation"]["state"], shown["waiting_for"]) == (id, "succeeded", [])
    refused(await gateway.install("key", name="lathe", start=True), 422, "idempotency_key_reused")
    assert await ledger.extent() == before
    assert works.done == [id]


async def test_a_repetition_tells_how_it_has_failed(gateway: Door, works: Works):
    works.fails.add("lathe")
    id = operation(await install(gateway))
    (ended,) = await works.ended(id)
    assert isinstance(ended, OperationFailed)
    shown = accepted(await install(gateway))["operation"]
    assert (shown["id"], shown["state"], shown["error"]["code"]) == (id, "failed", "told_to")
    assert shown["ended_at"] is not None


@on_both_servers
async def test_a_key_is_known_after_the_name_has_gone_to_another_tool(
    stage: Stage, gateway: Door, works: Works, ledger: Ledger
):
    """Uninstalled and installed again: the old requests are still theirs, and do nothing to the new tool."""
    first = accepted(await install(gateway))["operation"]
    await works.ended(first["id"])
    begun = operation(await gateway.post("/tools/lathe/start", key="start"))
    gone = operation(await gateway.uninstall("lathe", "gone"))
    await works.ended(begun, gone)
    again = await installed(gateway, works)
    assert again != first["tool"]
    before = await ledger.extent()
    for answer, id in (
        (await install(gateway), first["id"]),
        (await gateway.post("/tools/lathe/start", key="start"), begun),
        (await gateway.uninstall("lathe", "gone"), gone),
    ):
        shown = accepted(answer)["operation"]
        assert (shown["id"], shown["tool"], shown["state"]) == (id, first["tool"], "succeeded")
    refused(await gateway.post("/tools/lathe/stop", key="start"), 422, "idempotency_key_reused")
    refused(await gateway.uninstall("lathe", "gone", data="true"), 422, "idempotency_key_reused")
    refused(await gateway.install("key", name="lathe", ref="v2"), 422, "idempotency_key_reused")
    assert await ledger.extent() == before
    assert (await ledger.holder("lathe")).tool == again  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize("crash", [False, True], ids=["", "nats killed"])
@on_both_servers
async def test_a_gateway_that_slept_until_all_was_over_finds_what_the_others_did(
    stage: Stage, gateway: Door, ledger: Ledger, works: Works, crash: bool
):
    """A server that was started again does not know the command's id any more: it is stored twice, and run once."""
    halt = ("before", "command")
    # Its patience goes on while it sleeps, and a cluster takes seconds to come back.
    async with keeper(stage, gateway.data, halt=halt, signal=PAUSE, accept_patience=25.0) as sleeper:
        asleep = ask(sleeper)
        await sleeper.paused()
        id = operation(await install(gateway))
        (ended,) = await works.ended(id)
        assert isinstance(ended, OperationSucceeded)
        if crash:
            await stage.crash()
        sleeper.wake()
        shown = accepted(await asleep)["operation"]
    assert (shown["id"], shown["state"]) == (id, "succeeded")
    assert await works.ended(id) == [ended]
    assert works.done == [id]
    assert len(await ledger.record(id)) == 3


def ask(sleeper: Keeper) -> asyncio.Task[httpx.Response]:
    async def asking() -> httpx.Response:
        return await install(sleeper)

    return asyncio.create_task(asking())


@on_both_servers
async def test_a_gateway_that_slept_between_command_and_record_answers_as_the_others(
    stage: Stage, gateway: Door, ledger: Ledger
):
    async with keeper(stage, gateway.data, halt=("before", "accepted"), signal=PAUSE) as sleeper:
        asleep = ask(sleeper)
        await sleeper.paused()
        body = accepted(await install(gateway))
        sleeper.wake()
        assert accepted(await asleep) == body
    await ledger.accepted_once(body["operation"]["id"])


async def test_the_same_key_on_a_route_without_one_means_nothing(shared: Door):
    """A cancel can be repeated as it is; a key beside it is neither used nor in the way."""
    id = operation(await shared.install("for-install", name="uncancelled", git_url=GIT_URL))
    headers = {"idempotency-key": "for-install"}
    for _ in range(2):
        answer = await shared.client.post(f"/api/v1/operations/{id}/cancel", headers=headers)
        assert operation(answer) == id
