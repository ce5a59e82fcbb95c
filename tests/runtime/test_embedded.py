"""The NATS server that comes with the platform, both the oldest version it may be and the newest."""

import asyncio
import os
import random
import secrets
import signal
import socket
import threading
from pathlib import Path

import nats
import pytest
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import StreamConfig

from libs.contracts.permissions import Permissions
from libs.runtime import embedded, loopback, nats_config
from libs.runtime.embedded import EmbeddedNats, NatsFailed
from tests.support.nats_server import EVERYTHING, NATS_VERSIONS, embedded_client, nats_binaries, unheard
from tests.support.processes import MARK, marked, state_of, until, zombies_of


@pytest.fixture(autouse=True)
def port_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual one is what platforms under test beside this one take, too, as soon as a server here is down."""
    monkeypatch.setattr(embedded, "USUAL_PORT", random.randrange(30_000, 32_000))


@pytest.fixture(params=NATS_VERSIONS)
def version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("NATS_SERVER_BIN", str(nats_binaries()[request.param]))
    return request.param


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    mark = secrets.token_hex(8)
    monkeypatch.setenv(MARK, mark)
    return mark


async def test_it_answers_once_it_is_started_and_is_gone_once_it_is_stopped(tmp_path: Path, version: str):
    server = EmbeddedNats(tmp_path, EVERYTHING)
    await server.start()
    assert server.version.startswith("2.10." if version == "2.10" else "2.")
    async with embedded_client(server) as connection:
        limits = (await connection.jetstream().account_info()).limits
        assert limits.max_storage == nats_config.storage_limit_of((server.folder / "server.json").read_text())
    await server.stop()
    await server.stop()
    assert server.pid is None
    assert loopback.is_free(server.port)
    assert zombies_of(os.getpid()) == []


async def test_nobody_else_can_read_what_it_keeps(tmp_path: Path, version: str):
    async with EmbeddedNats(tmp_path, EVERYTHING) as server:
        assert server.folder.stat().st_mode & 0o777 == 0o700
        for name in ("credentials.json", "server.json", "lock"):
            assert (server.folder / name).stat().st_mode & 0o777 == 0o600, name


async def test_nobody_gets_in_without_a_password(tmp_path: Path, version: str):
    async with EmbeddedNats(tmp_path, EVERYTHING) as server:
        for login in ({}, {"user": "test", "password": "wrong"}):
            with pytest.raises(NatsError, match=r"(?i)authorization violation"):
                await nats.connect(server.url, allow_reconnect=False, error_cb=unheard, **login)


async def test_users_can_do_what_they_may_and_nothing_else(tmp_path: Path, version: str):
    users = {
        **EVERYTHING,
        "mute": Permissions(publish=(), subscribe=("_INBOX_mute.>", "said")),
        "answering": Permissions(publish=("said",), subscribe=("_INBOX_answering.>", "asked"), responds=True),
        "deaf": Permissions(publish=("said", "asked"), subscribe=()),
    }
    async with (
        EmbeddedNats(tmp_path, users) as server,
        embedded_client(server) as all_seeing,
        embedded_client(server, "mute") as mute,
        embedded_client(server, "answering") as answering,
        embedded_client(server, "deaf") as deaf,
    ):
        heard: list[Msg] = []
        seen: list[Msg] = []

        async def hear(message: Msg) -> None:
            heard.append(message)

        async def see(message: Msg) -> None:
            seen.append(message)

        async def answer(message: Msg) -> None:
            await message.respond(b"answer")

        for subject in (">", "said"):
            await deaf.subscribe(subject, cb=hear)
        await all_seeing.subscribe(">", cb=see)
        await answering.subscribe("asked", cb=answer)
        await asyncio.gather(*(each.flush() for each in (all_seeing, answering, deaf)))

        for name, connection in (("mute", mute), ("answering", answering), ("deaf", deaf)):
            for subject in ("said", "elsewhere", "_INBOX_other.x", "$JS.API.INFO"):
                await connection.publish(subject, name.encode())
            await connection.flush()
        assert (await all_seeing.request("asked", b"", timeout=2)).data == b"answer"
        told = [(m.subject, m.data.decode()) for m in seen if not m.subject.startswith("_INBOX_test")]
        assert sorted(told) == [("asked", ""), ("said", "answering"), ("said", "deaf")]
        assert heard == []


async def test_nothing_of_python_stays_in_the_servers_memory(tmp_path: Path):
    async with EmbeddedNats(tmp_path, EVERYTHING) as server:
        assert os.readlink(f"/proc/{server.pid}/exe") == str(nats_binaries()["newest"])


async def test_a_server_that_is_killed_comes_back_with_port_and_data(tmp_path: Path, version: str):
    async with EmbeddedNats(tmp_path, EVERYTHING) as server, embedded_client(server) as connection:
        stream = connection.jetstream()
        await stream.add_stream(StreamConfig(name="S", subjects=["s"]))
        before = server.port
        for killed in range(1, 4):
            await stream.publish("s", b"x")
            pid = server.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda killed=killed: server.restarts == killed)
            assert (server.port, zombies_of(os.getpid())) == (before, [])
            await until(lambda: connection.is_connected)
        assert (await stream.stream_info("S")).state.messages == 3


async def test_a_server_that_hangs_is_killed_when_it_is_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedded, "STOP_LIMIT", 0.3)
    async with EmbeddedNats(tmp_path, EVERYTHING) as server:
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
    assert state_of(pid) is None


async def test_the_usual_port_is_taken_if_it_is_free_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usual = _free_port()
    monkeypatch.setattr(embedded, "USUAL_PORT", usual)
    async with EmbeddedNats(tmp_path, EVERYTHING) as server:
        assert server.url == f"nats://127.0.0.1:{usual}"


async def test_a_taken_port_is_stepped_over_and_the_new_one_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usual = _free_port()
    monkeypatch.setattr(embedded, "USUAL_PORT", usual)
    with socket.socket() as other:
        other.bind(("127.0.0.1", usual))
        other.listen()
        async with EmbeddedNats(tmp_path, EVERYTHING) as server:
            chosen = server.port
            assert usual < chosen < usual + loopback.NEIGHBOURS
    async with EmbeddedNats(tmp_path, EVERYTHING) as server:
        assert server.port == chosen


async def test_a_port_lost_to_a_faster_one_is_stepped_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usual = _free_port()
    free = loopback.is_free
    with socket.socket() as faster:

        def taken_just_after(port: int) -> bool:
            answer = free(port)
            if port == usual and answer:
                faster.bind(("127.0.0.1", usual))
                faster.listen()
            return answer

        monkeypatch.setattr(embedded, "USUAL_PORT", usual)
        monkeypatch.setattr(loopback, "is_free", taken_just_after)
        async with EmbeddedNats(tmp_path, EVERYTHING) as server, embedded_client(server) as connection:
            assert server.port != usual
            assert connection.is_connected


async def test_two_platforms_run_side_by_side(tmp_path: Path):
    async with EmbeddedNats(tmp_path / "a", EVERYTHING) as a, EmbeddedNats(tmp_path / "b", EVERYTHING) as b:
        assert a.port != b.port
        assert a.name != b.name
        assert a.credentials["test"] != b.credentials["test"]


async def test_a_disk_that_has_less_room_than_before_costs_no_stream(
    tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
):
    async with EmbeddedNats(tmp_path, EVERYTHING) as server, embedded_client(server) as connection:
        room = (await connection.jetstream().account_info()).limits.max_storage
        assert room is not None
        config = StreamConfig(name="S", subjects=["s"], max_bytes=room // 2)
        await connection.jetstream().add_stream(config)
        await connection.jetstream().publish("s", b"kept")
    monkeypatch.setattr(nats_config, "MOST_STORED", 1024)
    async with EmbeddedNats(tmp_path, EVERYTHING) as server, embedded_client(server) as connection:
        assert (await connection.jetstream().get_last_msg("S", "s")).data == b"kept"


async def test_a_server_that_cannot_start_says_why_and_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    broken = tmp_path / "nats-server"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && echo nats-server: v2.10.0 || { echo no store; exit 9; }\n')
    broken.chmod(0o755)
    monkeypatch.setenv("NATS_SERVER_BIN", str(broken))
    for _ in range(2):
        with pytest.raises(NatsFailed, match="the NATS server ended with 9: no store"):
            await EmbeddedNats(tmp_path, EVERYTHING).start()


async def test_a_server_that_does_not_answer_in_time_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str
):
    silent = tmp_path / "nats-server"
    silent.write_text('#!/bin/sh\n[ "$1" = --version ] && echo nats-server: v2.10.0 || exec sleep 1000\n')
    silent.chmod(0o755)
    monkeypatch.setenv("NATS_SERVER_BIN", str(silent))
    monkeypatch.setattr(embedded, "START_LIMIT", 0.3)
    with pytest.raises(NatsFailed, match="does not answer on port"):
        await EmbeddedNats(tmp_path, EVERYTHING).start()
    assert marked(mark) == []


def test_it_is_not_started_on_a_thread_that_may_end_before_the_platform(tmp_path: Path):
    refusals: list[RuntimeError] = []

    def start() -> None:
        try:
            asyncio.run(EmbeddedNats(tmp_path, EVERYTHING).start())
        except RuntimeError as refusal:
            refusals.append(refusal)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert [str(refusal).startswith("start the NATS server on the main thread") for refusal in refusals] == [True]


def _free_port() -> int:
    """One with free neighbours, outside of those that the kernel hands out."""
    return next(
        port
        for port in range(15_000 + os.getpid() % 1000, 20_000)
        if all(loopback.is_free(neighbour) for neighbour in range(port, port + 3))
    )
