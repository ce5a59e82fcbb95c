"""NATS killed, paused and full while requests come in: 503, 429 or 507, or a 202 that is kept."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from libs.contracts.streams import COMMANDS
from libs.runtime.bus.connection import Bus
from tests.gateway.doors import Door, accepted, door, on_both_servers, operation, refused
from tests.gateway.ledger import Ledger
from tests.gateway.workers import working
from tests.support.processes import state_of
from tests.support.stage import Stage, eventually

Ask = Callable[[int], Awaitable[httpx.Response]]


@pytest.fixture
async def hasty(stage: Stage, tmp_path: Path) -> AsyncGenerator[Door]:
    """A gateway that gives NATS half a second."""
    async with door(stage, tmp_path, accept_patience=0.5) as open_door:
        yield open_door


@asynccontextmanager
async def paused(stage: Stage) -> AsyncGenerator[None]:
    stage.server.pause()
    await eventually(lambda: state_of(stage.server.pid) == "T", "the server stands still")
    try:
        yield
    finally:
        stage.server.resume()


async def asked_throughout(stage: Stage, ask: Ask, crashes: int) -> dict[int, httpx.Response]:
    """Eight clients, one request after the other, while NATS is killed and started again so often."""
    answers: dict[int, httpx.Response] = {}
    over = asyncio.Event()

    async def client(first: int) -> None:
        number = first
        while not over.is_set():
            answers[number] = await ask(number)
            number += 8

    async with asyncio.TaskGroup() as group:
        for first in range(8):
            group.create_task(client(first))
        for _ in range(crashes):
            enough = len(answers) + 40
            await eventually(lambda: len(answers) >= enough, "requests are answered")  # noqa: B023
            await stage.crash()
        over.set()
    return answers


def kept(answers: dict[int, httpx.Response]) -> dict[int, str]:
    """The operations of those that were accepted; the others were told to try again."""
    for answer in answers.values():
        if answer.status_code != 202:
            refused(answer, 503, "bus_unavailable")
            assert int(answer.headers["retry-after"]) > 0
    return {number: operation(answer) for number, answer in answers.items() if answer.status_code == 202}


@on_both_servers
async def test_no_202_is_lost_when_nats_is_killed_while_installs_come_in(stage: Stage, gateway: Door, ledger: Ledger):
    """Each 202 has its command and its record, each once; each other request does after its repetition."""
    answers = await asked_throughout(stage, lambda number: gateway.install(f"key-{number}", name=f"tool-{number}"), 2)
    operations = kept(answers)
    assert len(operations) >= 60
    stored = Counter(command.operation for command in await ledger.commands())
    recorded = Counter(event.operation for event in await ledger.record())
    for id in operations.values():
        assert (stored[id], recorded[id]) == (1, 1)
    again = await asyncio.gather(*(gateway.install(f"key-{number}", name=f"tool-{number}") for number in answers))
    for number, answer in zip(answers, again, strict=True):
        assert operation(answer) == operations.get(number, operation(answer))
    stored = Counter(command.operation for command in await ledger.commands())
    recorded = Counter(event.operation for event in await ledger.record())
    assert stored == recorded
    assert set(stored.values()) == {1}
    assert len(stored) == len(answers)


@on_both_servers
async def test_no_202_is_lost_without_a_key_either(stage: Stage, gateway: Door, ledger: Ledger):
    """And what was refused is at most stored, never twice."""
    for number in range(8):
        await gateway.install(name=f"tool-{number}")
    answers = await asked_throughout(stage, lambda number: gateway.post(f"/tools/tool-{number % 8}/start"), 1)
    refusals = [answer for answer in answers.values() if answer.status_code == 429]
    operations = kept({number: answer for number, answer in answers.items() if answer not in refusals})
    stored = Counter(command.operation for command in await ledger.commands() if command.action == "start")
    assert set(stored.values()) == {1}
    assert set(operations.values()) <= set(stored)
    assert len(stored) <= len(answers) - len(refusals)
    recorded = Counter(event.operation for event in await ledger.record())
    assert {recorded[id] for id in operations.values()} == {1}


@on_both_servers
async def test_what_was_accepted_before_nats_died_is_carried_out_after_it(stage: Stage, gateway: Door):
    ids = [operation(await gateway.install(name=f"tool-{number}")) for number in range(5)]
    await stage.crash()
    async with working(stage) as works:
        await works.ended(*ids)
        assert sorted(works.done) == sorted(ids)


@on_both_servers
async def test_a_nats_that_is_paused_is_503_and_the_repetition_one_operation(stage: Stage, hasty: Door, ledger: Ledger):
    """The server has what it was sent before it was given up, and may take it up when it wakes."""
    await until_accepted(lambda: hasty.install("lathe", name="lathe"))
    async with paused(stage):
        begun = time.monotonic()
        answers = await asyncio.gather(
            hasty.post("/tools/lathe/start", key="start"),
            hasty.install("install", name="drill"),
            hasty.post("/tools/lathe/stop"),
            hasty.post(f"/operations/op-{'a' * 26}/cancel"),
        )
        assert time.monotonic() - begun < 5
    for answer in answers:
        assert "same Idempotency-Key" in refused(answer, 503, "bus_unavailable")["detail"]
        assert int(answer.headers["retry-after"]) > 0
    for ask in (lambda: hasty.post("/tools/lathe/start", key="start"), lambda: hasty.install("install", name="drill")):
        ids = {operation(await until_accepted(ask)) for _ in range(2)}
        await ledger.accepted_once(ids.pop())
        assert not ids


async def until_accepted(ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """As a client does that was told to come again."""
    answers: list[httpx.Response] = []

    async def let_in() -> bool:
        answers.append(await ask())
        return answers[-1].status_code != 503

    await eventually(let_in, "NATS takes it")
    return answers[-1]


@on_both_servers
async def test_a_short_pause_of_nats_is_not_noticed(stage: Stage, gateway: Door, ledger: Ledger):
    async with paused(stage):
        asking = asyncio.create_task(gateway.install(name="lathe"))
        await asyncio.sleep(0.3)
        assert not asking.done()
    await ledger.accepted_once(operation(await asking))


@on_both_servers
async def test_a_nats_that_is_gone_is_503_within_the_patience_and_nothing_is_sent_later(
    stage: Stage, hasty: Door, ledger: Ledger
):
    """Without a connection nothing is stored for later: who was told to try again is not served twice."""
    await until_accepted(lambda: hasty.install("lathe", name="lathe"))
    await stage.server.kill()
    assert (await hasty.stranger.get("/api/health")).status_code == 503
    begun = time.monotonic()
    refused(await hasty.post("/tools/lathe/start"), 503, "bus_unavailable")
    refused(await hasty.install(name="drill"), 503, "bus_unavailable")
    assert time.monotonic() - begun < 4
    await stage.server.start()
    await until_accepted(lambda: hasty.post("/tools/lathe/stop", key="stop"))
    assert [command.action for command in await ledger.commands()] == ["install", "stop"]
    assert await ledger.holder("drill") is None
    assert (await hasty.stranger.get("/api/health")).status_code == 200


@on_both_servers
async def test_a_client_that_hung_up_finds_its_operation_under_its_key(stage: Stage, gateway: Door, ledger: Ledger):
    async with paused(stage):
        with pytest.raises(httpx.ReadTimeout):
            await gateway.client.post(
                "/api/v1/tools",
                json={"git_url": "https://git.example.org/lathe.git"},
                headers={"Idempotency-Key": "key"},
                timeout=0.3,
            )
    body = accepted(await gateway.install("key", git_url="https://git.example.org/lathe.git"))
    await ledger.accepted_once(body["operation"]["id"])
    assert len(await ledger.commands()) == 1


@on_both_servers
async def test_as_many_commands_as_are_admitted_wait_and_the_next_is_told_when_to_come_again(
    stage: Stage, gateway: Door, ledger: Ledger
):
    await gateway.install(name="lathe")
    await gateway.install(name="drill")
    answers = await asyncio.gather(*(gateway.post("/tools/lathe/start") for _ in range(110)))
    counted = Counter(answer.status_code for answer in answers)
    assert counted == {202: 99, 429: 11}  # the tool's install waits too
    for answer in answers:
        if answer.status_code == 429:
            refused(answer, 429, "too_many_waiting")
            assert int(answer.headers["retry-after"]) > 0
    assert len(await ledger.commands()) == 101
    assert len(await ledger.record()) == 101
    # The others are not held up by it: neither another tool, nor a stop of this one.
    accepted(await gateway.post("/tools/drill/start"))
    accepted(await gateway.post("/tools/lathe/stop", now="true"))
    refused(await gateway.post("/tools/lathe/start", key="later"), 429, "too_many_waiting")
    for _ in range(2):  # the stop is one more than may wait
        oldest = await stage.witness.next(COMMANDS, "machete.cmd.v1.tool.*.start", 1)
        assert oldest is not None
        await stage.witness.jetstream.delete_msg("COMMANDS", oldest.sequence)
    await ledger.accepted_once(operation(await gateway.post("/tools/lathe/start", key="later")))


async def room(witness: Bus, stream: str, size: int) -> None:
    """Sets how many bytes a stream takes at most."""
    config = (await witness.jetstream.stream_info(stream)).config
    config.max_bytes = size
    await witness.jetstream.update_stream(config)


@pytest.mark.parametrize("stream", ["COMMANDS", "KV_machete_names"])
@on_both_servers
async def test_a_full_store_is_507_and_the_name_is_not_kept_for_what_was_not_accepted(
    stage: Stage, gateway: Door, ledger: Ledger, stream: str
):
    await gateway.install(name="lathe")
    info = await stage.witness.jetstream.stream_info(stream)
    await room(stage.witness, stream, info.state.bytes + 16)
    for _ in range(2):
        answer = await gateway.install(name="drill")
        refused(answer, 507, "storage_full")
        assert int(answer.headers["retry-after"]) > 0
    refused(await gateway.install("key", name="saw"), 507, "storage_full")
    assert len(await ledger.commands()) == len(await ledger.record()) == 1
    assert await ledger.holder("drill") is None
    assert info.config.max_bytes is not None
    await room(stage.witness, stream, info.config.max_bytes)
    for answer in (await gateway.install(name="drill"), await gateway.install("key", name="saw")):
        await ledger.accepted_once(operation(answer))
