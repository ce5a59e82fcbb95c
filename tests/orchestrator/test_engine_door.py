"""How engine calls fail, seen on a stand-in that answers whatever a test tells it to."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from services.orchestrator.adapters.engine import Engine, path_of
from services.orchestrator.adapters.feed import DockerFeed
from services.orchestrator.domain.failures import EngineAway, EngineError

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answering(folder: Path, answer: Answer) -> AsyncIterator[Engine]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await answer(head.decode().split()[1], writer)
        finally:
            writer.close()

    path = folder / "engine.sock"
    server = await asyncio.start_unix_server(serve, path)
    try:
        yield Engine(f"unix://{path}")
    finally:
        server.close()


def saying(status: int, body: bytes) -> Answer:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.0 {status} Whatever\r\n\r\n".encode() + body)
        await writer.drain()

    return answer


async def silence(path: str, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


@pytest.mark.parametrize(("status", "code"), [(404, "not_found"), (409, "conflict"), (500, "engine_error")])
async def test_a_refusal_has_a_code_and_the_engines_words(tmp_path: Path, status: int, code: str):
    async with answering(tmp_path, saying(status, b'{"message": "no such thing"}')) as engine:
        with pytest.raises(EngineError, match="The Docker Engine refused: no such thing") as refused:
            await engine.call("GET", "/x")
    assert (refused.value.code, refused.value.status) == (code, status)


async def test_an_engine_without_room_says_what_would_help(tmp_path: Path):
    body = b'{"message": "mkdir /var/lib/docker/overlay2/x: no space left on device"}'
    async with answering(tmp_path, saying(500, body)) as engine:
        with pytest.raises(EngineError, match="overlay2/x: no space left on device: free some space") as refused:
            await engine.call("POST", "/x")
    assert (refused.value.code, refused.value.status) == ("disk_full", 500)


async def test_a_refusal_in_no_known_form_is_told_as_it_is(tmp_path: Path):
    async with answering(tmp_path, saying(502, b"Bad gateway")) as engine:
        with pytest.raises(EngineError, match="refused: Bad gateway"):
            await engine.call("GET", "/x")


async def test_an_answer_without_a_body_is_none(tmp_path: Path):
    async with answering(tmp_path, saying(204, b"")) as engine:
        assert await engine.call("POST", "/x") is None


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 200 OK\r\n", b"SSH-2.0-OpenSSH\r\n\r\n", b"x" * 200_000])
async def test_an_engine_that_breaks_off_is_away(tmp_path: Path, answer: bytes):
    async def break_off(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    async with answering(tmp_path, break_off) as engine:
        with pytest.raises(EngineAway, match="broke off") as away:
            await engine.call("GET", "/x")
    assert away.value.code == "engine_away"


async def test_half_an_answer_is_no_answer(tmp_path: Path):
    async with answering(tmp_path, saying(200, b'[{"Id": "abc"')) as engine:
        with pytest.raises(EngineAway, match="broke off its answer to GET /containers/json"):
            await engine.call("GET", "/containers/json")


async def test_an_engine_that_is_not_there_is_away_and_says_where_it_was_sought(tmp_path: Path):
    with pytest.raises(EngineAway, match=rf"answers at unix://{tmp_path}/none.sock: start it"):
        await Engine(f"unix://{tmp_path}/none.sock").call("GET", "/_ping")


async def test_a_stale_socket_is_an_engine_away(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "stale.sock"))
    with pytest.raises(EngineAway, match="start it"):
        await Engine(f"unix://{tmp_path}/stale.sock").call("GET", "/_ping")


async def test_an_engine_that_does_not_answer_is_away_after_a_while(tmp_path: Path):
    async with answering(tmp_path, silence) as engine:
        with pytest.raises(EngineAway, match=r"did not answer GET /x in 0\.1 s"):
            await engine.call("GET", "/x", patience=0.1)


async def test_a_cancelled_question_ends_at_once(tmp_path: Path):
    async with answering(tmp_path, silence) as engine:
        asking = asyncio.ensure_future(engine.call("GET", "/x"))
        await asyncio.sleep(0.02)
        began = time.monotonic()
        asking.cancel()
        await asyncio.wait({asking})
        assert time.monotonic() - began < 0.5


async def test_a_cancelled_change_is_waited_for_but_not_for_ever(tmp_path: Path):
    done: list[str] = []

    async def slow(path: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2 if path == "/slow" else 30)
        done.append(path)
        writer.write(b"HTTP/1.0 204 No Content\r\n\r\n")
        await writer.drain()

    async with answering(tmp_path, slow) as engine:
        for path, most in (("/slow", 1.0), ("/stuck", 3.0)):
            changing = asyncio.ensure_future(engine.call("POST", path))
            await asyncio.sleep(0.02)
            began = time.monotonic()
            changing.cancel()
            await asyncio.wait({changing})
            assert changing.cancelled()
            assert time.monotonic() - began < most
    assert done == ["/slow"]


async def test_a_frozen_engine_ends_the_events(tmp_path: Path):
    async def frozen(path: str, writer: asyncio.StreamWriter) -> None:
        if path.startswith("/events"):
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        await asyncio.sleep(30)

    async with answering(tmp_path, frozen) as engine:
        events = DockerFeed(engine, "abcd2345", quiet=0.1, ping_patience=0.2).events()
        with pytest.raises(EngineAway, match=r"did not answer GET /version in 0\.2 s"):
            await asyncio.wait_for(anext(events), 5)


async def test_a_quiet_engine_that_lives_is_waited_for(tmp_path: Path):
    event = {
        "Type": "container",
        "Action": "start",
        "Actor": {"ID": "c", "Attributes": {"io.machete.tool": "web-abc234"}},
        "timeNano": 5,
    }

    async def quiet(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        if path.startswith("/events"):
            await asyncio.sleep(0.5)
            writer.write(json.dumps(event).encode() + b"\n")
        else:
            writer.write(b'{"Version": "26.1.5"}')
        await writer.drain()

    async with (
        answering(tmp_path, quiet) as engine,
        aclosing(DockerFeed(engine, "abcd2345", quiet=0.1).events()) as events,
    ):
        assert (await asyncio.wait_for(anext(events), 5)).tool == "web-abc234"
        with pytest.raises(EngineAway, match="ended its event stream"):
            await asyncio.wait_for(anext(events), 5)


async def test_an_engine_elsewhere_is_reached_over_tcp():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.0 200 OK\r\n\r\n{"Version": "26.1.5"}')
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        engine = Engine(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert not engine.is_local
        assert await DockerFeed(engine, "abcd2345").ping() == "26.1.5"


def test_names_in_a_path_lead_nowhere_else():
    assert path_of("containers", "../images?x=1 #", "json") == "/containers/..%2Fimages%3Fx%3D1%20%23/json"


@pytest.mark.parametrize("address", ["ssh://host", "http://host", "/var/run/docker.sock", ""])
def test_an_address_that_cannot_be_used_is_told(address: str):
    with pytest.raises(ValueError, match="use unix:///path or tcp://host:port"):
        Engine(address)


def test_the_engine_is_found_where_dockers_own_client_finds_it():
    assert Engine.from_environment({}).address == "unix:///var/run/docker.sock"
    assert Engine.from_environment({"DOCKER_HOST": "tcp://10.0.0.1:2375"}).client_environment == {
        "DOCKER_HOST": "tcp://10.0.0.1:2375"
    }
