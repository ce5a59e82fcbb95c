"""The embedded NATS server when its platform dies, hangs, or is started twice."""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig

from libs.runtime import loopback, nats_credentials
from libs.runtime.bus.connecting import close
from libs.runtime.datalock import DataHeld
from libs.runtime.embedded import EmbeddedNats
from tests.support.nats_server import EVERYTHING, NATS_VERSIONS, embedded_client, nats_binaries
from tests.support.processes import MARK, marked, state_of, until

ROOT = Path(__file__).parents[2]
PLATFORM = """
import asyncio, sys
from pathlib import Path
from libs.runtime.embedded import EmbeddedNats
from libs.runtime.logging import configure
from tests.support.nats_server import EVERYTHING

configure()

async def main():
    async with EmbeddedNats(Path(sys.argv[1]), EVERYTHING) as server:
        print(server.pid, server.port, flush=True)
        await asyncio.sleep(1000)

asyncio.run(main())
"""


@pytest.fixture(params=NATS_VERSIONS)
def version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("NATS_SERVER_BIN", str(nats_binaries()[request.param]))
    return request.param


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    mark = secrets.token_hex(8)
    monkeypatch.setenv(MARK, mark)
    return mark


@asynccontextmanager
async def platform(data: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, int, int]]:
    """A process with the server embedded; with it the server's pid and port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PLATFORM, str(data), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        pid, port = (await asyncio.wait_for(process.stdout.readline(), 10)).split()
        yield process, int(pid), int(port)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class EmbeddedLogin:
    """A client of a server in another process, by what that one wrote down."""

    def __init__(self, data: Path, port: int):
        self._server = EmbeddedNats(data, EVERYTHING)
        self._port = port

    async def __aenter__(self) -> Client:
        password = nats_credentials.ensure(self._server.folder / "credentials.json", EVERYTHING)["test"]
        self._client = await nats.connect(f"nats://127.0.0.1:{self._port}", user="test", password=password)
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await close(self._client)


async def test_kill_9_of_the_platform_leaves_no_server(tmp_path: Path, version: str, mark: str):
    async with platform(tmp_path) as (process, pid, port):
        process.kill()
        await process.wait()
        await until(lambda: state_of(pid) in (None, "Z"), within=1.0)  # its last parent is init now
        assert marked(mark) == []
        assert loopback.is_free(port)


async def test_a_paused_server_dies_with_its_platform_too(tmp_path: Path, mark: str):
    async with platform(tmp_path) as (process, pid, _):
        os.kill(pid, signal.SIGSTOP)
        process.kill()
        await until(lambda: marked(mark) == [], within=1.0)


async def test_sigterm_to_the_platform_ends_the_server(tmp_path: Path, version: str, mark: str):
    async with platform(tmp_path) as (process, _, _):
        process.terminate()
        await process.wait()
        await until(lambda: marked(mark) == [], within=1.0)


async def test_a_platform_killed_and_started_again_finds_all_it_stored(tmp_path: Path, version: str):
    async with platform(tmp_path) as (process, _, port):
        async with EmbeddedLogin(tmp_path, port) as connection:
            await connection.jetstream().add_stream(StreamConfig(name="S", subjects=["s"]))
            await connection.jetstream().publish("s", b"kept")
        process.kill()
        async with EmbeddedNats(tmp_path, EVERYTHING) as server, embedded_client(server) as connection:
            assert server.port == port
            assert (await connection.jetstream().get_last_msg("S", "s")).data == b"kept"


async def test_a_second_start_on_the_same_data_names_the_holder(tmp_path: Path):
    async with platform(tmp_path) as (process, _, port):
        with pytest.raises(DataHeld) as refusal:
            await EmbeddedNats(tmp_path, EVERYTHING).start()
        assert f"in use by process {process.pid} since " in str(refusal.value)
        assert f" at nats://127.0.0.1:{port}: " in str(refusal.value)


async def test_a_platform_killed_a_moment_ago_is_no_obstacle(tmp_path: Path, version: str):
    for _ in range(3):
        async with platform(tmp_path) as (process, _, port):
            process.kill()
            async with EmbeddedNats(tmp_path, EVERYTHING) as server:
                assert server.port == port
