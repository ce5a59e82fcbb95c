"""Logs over HTTP: all that is kept, the last lines, and what comes, each line once."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from libs.contracts.envelope import envelop
from libs.contracts.logs import LogChunk, LogLine
from libs.contracts.queries import ShowOperation, ShowTool
from libs.contracts.streams import LOGS
from libs.runtime.bus.stored import Kept
from services.status.domain import silence
from services.status.history import BESIDE, Tail, chunk_of
from tests.status.service import Running, chunk, printed, status_service, texts
from tests.status.stories import Operation, tool
from tests.support.nats_server import NATS_VERSIONS
from tests.support.served import TOKEN
from tests.support.stage import WITHIN, Stage, staged


@pytest.fixture(scope="module", params=NATS_VERSIONS)
async def stage(request: pytest.FixtureRequest) -> AsyncGenerator[Stage]:
    async with staged(request.param) as stage:
        yield stage


@pytest.fixture(scope="module")
async def status(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Running]:
    async with status_service(stage, tmp_path_factory.mktemp("data")) as running:
        yield running


def log_of(operation: Operation) -> str:
    return f"/api/v1/operations/{operation.id}/log"


async def running(status: Running, name: str) -> tuple[Operation, int]:
    """An install that was begun, and its fence."""
    install = Operation(name=name)
    await status.say(install.accepted())
    return install, await status.say(install.started())


async def installed(status: Running, name: str) -> Operation:
    install, fence = await running(status, name)
    position = await status.say(install.succeeded(fence, tool(name)))
    await status.ask(ShowOperation(operation=install.id, wait=10, position=position))
    return install


async def get(status: Running, path: str, **query: object) -> list[dict[str, str]]:
    response = await status.http.client.get(path, params=query)  # type: ignore[arg-type]
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in response.text.splitlines()]


async def test_the_log_of_an_operation_is_all_that_it_printed(status: Running) -> None:
    install, fence = await running(status, "kept")
    await status.say(printed(install, 0, 3), printed(install, 3, 2), chunk(install.tool, "main", 0))
    lines = await get(status, log_of(install))
    assert texts(lines) == [f"{install.id} {number}" for number in range(5)]
    assert set(lines[0]) == {"number", "time", "text"}
    await status.say(install.succeeded(fence, tool("kept")))
    assert await get(status, log_of(install)) == lines


async def test_a_followed_log_ends_with_its_operation_and_has_every_line(status: Running) -> None:
    install, fence = await running(status, "followed")
    await status.say(printed(install, 0, 2))
    async with status.followed(log_of(install)) as lines:
        first = [await lines.next() for _ in range(2)]
        await status.say(printed(install, 2, 50), printed(install, 52))
        await status.say(install.succeeded(fence, tool("followed")))
        rest = await lines.rest()
    assert texts([*first, *rest]) == [f"{install.id} {number}" for number in range(53)]


async def test_following_an_operation_that_has_ended_or_printed_nothing_ends_at_once(status: Running) -> None:
    install = await installed(status, "silent")
    async with status.followed(log_of(install)) as lines:
        assert await lines.rest() == []
    await status.say(printed(install, 0))
    async with status.followed(log_of(install)) as lines:
        assert len(await lines.rest()) == 1


async def test_who_asks_for_a_log_right_after_the_202_gets_it(status: Running) -> None:
    for number in range(10):
        install = Operation(name=f"quick{number}")
        await status.say(install.accepted())
        assert await get(status, log_of(install)) == []


async def test_a_followed_log_goes_on_over_a_killed_nats(status: Running, stage: Stage) -> None:
    install, fence = await running(status, "crashed")

    async def happen() -> None:
        for number in range(150):
            await status.say(printed(install, number))
        await status.say(install.succeeded(fence, tool("crashed")))

    async with status.followed(log_of(install)) as lines:
        happening = asyncio.create_task(happen())
        await asyncio.sleep(0.05)
        await stage.crash()
        await happening
        assert texts(await lines.rest()) == [f"{install.id} {number}" for number in range(150)]


async def test_lines_that_are_no_longer_kept_are_told_and_counted(status: Running, stage: Stage) -> None:
    install, _ = await running(status, "old")
    await status.say(printed(install, 0, 9))
    await stage.witness.jetstream.purge_stream(LOGS.name)
    await status.say(printed(install, 9), printed(install, 12))
    lines = await get(status, log_of(install))
    assert [line.get("missed") for line in lines] == [9, None, 2, None]
    assert lines[0]["text"] == "[9 lines came faster than they could be kept, or are no longer kept]"


async def test_lines_since_a_moment_come_alone_and_a_moment_names_its_zone(status: Running) -> None:
    install = await installed(status, "timed")
    await status.say(chunk(install.tool, "main", 0, 2))
    await asyncio.sleep(0.01)
    moment = datetime.now(UTC)
    await status.say(chunk(install.tool, "main", 2, 2))
    address = "/api/v1/tools/timed/logs"
    assert texts(await get(status, address, since=moment.isoformat())) == ["main 2", "main 3"]
    assert texts(await get(status, address, since=moment.isoformat(), tail=1)) == ["main 3"]
    async with status.followed(address, since=moment.isoformat()) as lines:
        assert texts([await lines.next(), await lines.next()]) == ["main 2", "main 3"]
        await status.say(chunk(install.tool, "main", 4))
        assert (await lines.next())["text"] == "main 4"
    for early, late in (("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"), ("0", "99999999999999")):
        assert len(await get(status, address, since=early)) == 5
        assert await get(status, address, since=late) == []
    for wrong in ("yesterday", "2026-01-31T12:00:00", "12:00"):
        refused = await status.http.client.get(address, params={"since": wrong})
        said = f'since: found "{wrong}", allowed is a time and its zone, such as 2026-01-31T12:00:00Z'
        assert (refused.status_code, refused.json()["detail"]) == (422, said)


async def test_a_tools_lines_come_with_their_service_and_without_its_operations(status: Running) -> None:
    install = await installed(status, "two")
    await status.say(
        chunk(install.tool, "main", 0, 2),
        printed(install, 0),
        chunk(install.tool, "side", 0),
        chunk(install.tool, "main", 2),
    )
    for word in ("two", install.tool):
        lines = await get(status, f"/api/v1/tools/{word}/logs")
        assert [(line["service"], line["text"]) for line in lines] == [
            ("main", "main 0"),
            ("main", "main 1"),
            ("side", "side 0"),
            ("main", "main 2"),
        ]


async def test_the_lines_of_one_service_alone_are_shown_if_it_is_asked_for(status: Running) -> None:
    install = await installed(status, "one")
    await status.say(chunk(install.tool, "main", 0, 2), chunk(install.tool, "side", 0), chunk(install.tool, "main", 2))
    lines = await get(status, "/api/v1/tools/one/logs", service="main", tail=2)
    assert texts(lines) == ["main 1", "main 2"]
    assert texts(await get(status, "/api/v1/tools/one/logs", service="main")) == ["main 0", "main 1", "main 2"]


async def test_whoever_asks_for_a_service_that_is_not_there_is_told_which_are(status: Running) -> None:
    await installed(status, "known")
    response = await status.http.client.get("/api/v1/tools/known/logs", params={"service": "other"})
    assert (response.status_code, response.json()["code"]) == (404, "service_unknown")
    assert "known has no service other; it has main." in response.text


async def test_a_tail_is_the_last_lines(status: Running) -> None:
    install = await installed(status, "tail")
    await status.say(*(chunk(install.tool, "main", number, 3) for number in range(0, 30, 3)))
    for tail in (0, 1, 3, 4, 29, 30, 31, 10_000):
        lines = await get(status, "/api/v1/tools/tail/logs", tail=tail)
        assert texts(lines) == [f"main {number}" for number in range(30)][-tail or 30 :]


def test_a_tail_holds_little_more_than_the_chunks_that_its_lines_stand_in() -> None:
    tail, most = Tail(1_000), 0
    for number in range(0, 20_000, 100):
        message = chunk(tool().id, "main", number, 100)
        tail.add(Kept(number + 1, message.subject, envelop(message, "test/1").encode()))
        most = max(most, tail.size)
    one = len(envelop(chunk(tool().id, "main", 19_900, 100), "test/1").encode())
    assert most < 2 * 11 * one + BESIDE
    taken = [(chunk_of(kept), skip) for kept, skip in tail.taken()]
    lines = [line["text"] for each, skip in taken if each is not None for line in each.lines[skip:]]
    assert lines == [f"main {number}" for number in range(19_000, 20_000)]


async def test_following_a_tail_goes_on_where_the_tail_ends(status: Running) -> None:
    install = await installed(status, "on")
    await status.say(chunk(install.tool, "main", 0, 5), chunk(install.tool, "main", 5, 5))
    async with status.followed("/api/v1/tools/on/logs", tail=3) as lines:
        found = [await lines.next() for _ in range(3)]
        await status.say(printed(install, 0), chunk(install.tool, "main", 10, 2), chunk(install.tool, "new", 0))
        found += [await lines.next() for _ in range(3)]
    assert texts(found) == ["main 7", "main 8", "main 9", "main 10", "main 11", "new 0"]


async def test_following_without_a_tail_repeats_nothing_while_lines_come(status: Running) -> None:
    install = await installed(status, "busy")
    stop = asyncio.Event()

    async def chatter() -> int:
        number = 0
        while not stop.is_set():
            await status.say(chunk(install.tool, "main", number))
            number += 1
        return number

    chattering = asyncio.create_task(chatter())
    for _ in range(5):
        async with status.followed("/api/v1/tools/busy/logs") as lines:
            found = texts([await lines.next() for _ in range(60)])
        numbers = [int(text.split()[1]) for text in found]
        assert numbers == list(range(numbers[0], numbers[0] + 60))
    stop.set()
    await chattering


async def test_fifty_followers_that_leave_leave_no_reader_behind(status: Running, stage: Stage) -> None:
    install, _ = await running(status, "fifty")
    await status.say(printed(install, 0))
    entered = asyncio.Barrier(51)

    async def follow() -> None:
        async with status.followed(log_of(install)) as lines:
            await lines.next()
            await entered.wait()

    following = [asyncio.create_task(follow()) for _ in range(50)]
    async with asyncio.timeout(WITHIN):
        await entered.wait()
    await asyncio.gather(*following)
    await stage.has_readers("LOGS", 0)


async def test_a_followed_log_ends_when_the_platform_stops(stage: Stage, tmp_path: Path) -> None:
    async with status_service(stage, tmp_path) as status:
        install, _ = await running(status, "stopped")
        await status.say(printed(install, 0))
        async with status.followed(log_of(install)) as lines:
            await lines.next()
            stopping = asyncio.create_task(status.stop())
            assert await lines.rest() == []
            await stopping


@pytest.mark.parametrize("tail", [None, 0, 1])
async def test_a_followed_log_of_a_tool_ends_when_the_tool_is_uninstalled_and_has_its_last_lines(
    status: Running, tail: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "ENOUGH", 1e6)
    monkeypatch.setattr(silence, "AT_MOST", 1e6)
    name = f"leaves-{tail}".lower()
    install = await installed(status, name)
    stays = await installed(status, f"stays-{tail}".lower())
    await status.say(chunk(install.tool, "app", 0))
    query = {} if tail is None else {"tail": tail}
    async with (
        status.followed(f"/api/v1/tools/{stays.tool}/logs") as others,
        status.followed(f"/api/v1/tools/{name}/logs", **query) as lines,
    ):
        await status.say(chunk(install.tool, "app", 1), chunk(stays.tool, "app", 0))
        seen = [await lines.next() for _ in range(1 if tail == 0 else 2)]
        uninstall = Operation("uninstall", name)
        await status.say(uninstall.accepted())
        fence = await status.say(uninstall.started())
        position = await status.say(uninstall.succeeded(fence, None))
        await status.ask(ShowOperation(operation=uninstall.id, wait=10, position=position))
        await status.say(chunk(install.tool, "app", 2))
        seen.append(await lines.next())
        monkeypatch.setattr(silence, "ENOUGH", 0.0)
        assert await lines.rest() == []
        assert texts(seen)[-2:] == ["app 1", "app 2"]
        assert (await others.next())["text"] == "app 0"
        await status.say(chunk(stays.tool, "app", 1))
        assert (await others.next())["text"] == "app 1"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/operations/nothing/log",
        "/api/v1/operations/op-%24(id)/log",
        "/api/v1/operations/..%2f..%2fetc%2fpasswd/log",
        "/api/v1/tools/nobody/logs",
        "/api/v1/tools/..%2f..%2fetc/logs",
        "/api/v1/tools/a;id/logs",
    ],
)
async def test_logs_are_asked_for_by_id_and_never_by_path(status: Running, path: str) -> None:
    response = await status.http.client.get(path)
    assert response.status_code == 404
    assert response.json()["code"] in ("operation_not_found", "tool_not_found", "not_found")
    assert (await status.http.stranger.get(path)).status_code == 401


@pytest.mark.parametrize("query", ["tail=-1", "tail=10001", "tail=x", "follow=perhaps"])
async def test_a_tail_that_is_none_is_refused(status: Running, query: str) -> None:
    await installed(status, "strict")
    response = await status.http.client.get(f"/api/v1/tools/strict/logs?{query}")
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"


async def test_many_who_ask_for_a_long_log_and_do_not_read_it_cost_nobody_the_connection_to_nats(
    status: Running, capfd: pytest.CaptureFixture[str]
) -> None:
    install = await installed(status, "flooding")
    lines = tuple(LogLine(time=datetime.now(UTC), text="x" * 1000) for _ in range(60))
    for number in range(300):
        await status.say(LogChunk(tool=install.tool, source="app", first=60 * number, lines=lines))
    path = f"/api/v1/tools/{install.tool}/logs?follow=true"
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    readers: list[socket.socket] = []
    try:
        for _ in range(60):
            reader = socket.socket()
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.setblocking(False)
            readers.append(reader)
            await asyncio.get_running_loop().sock_connect(reader, ("127.0.0.1", status.http.port))
            await asyncio.get_running_loop().sock_sendall(reader, request.encode())
        for reader in readers:
            assert (await asyncio.get_running_loop().sock_recv(reader, 12)) == b"HTTP/1.1 200"
        other = await installed(status, "neighbour")
        assert (await status.ask(ShowTool(tool="neighbour"))).id == other.tool
        assert "nats disconnected" not in "".join(capfd.readouterr())
    finally:
        for reader in readers:
            reader.close()
