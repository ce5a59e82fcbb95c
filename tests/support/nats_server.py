"""Real NATS servers for tests, of the oldest supported and the newest version, to be killed and paused at will.

One, or a cluster of three that keep everything threefold and are handled like one. With MACHETE_TEST_NATS=three, all
tests that ask for a newest one get a cluster.

async with running_nats("2.10") as server:
    client = await server.connect()
    await server.kill()
    await server.start()     # same port, same store
"""

import asyncio
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import nats
from nats.aio.client import Client

from libs.contracts.permissions import Permissions
from libs.runtime import loopback, nats_binary
from libs.runtime.bus.connecting import close, servers_of
from libs.runtime.embedded import LAUNCHER, EmbeddedNats
from libs.runtime.nats_config import GIB, Cluster, NatsUser, ServerSettings, render
from tests.support.processes import freeze

OLDEST = Path(sys.prefix, "nats-2.10", "bin", "nats-server")
NATS_VERSIONS = ("2.10", "newest")
NATS_KINDS = (*NATS_VERSIONS, "three")
EVERYTHING = {"test": Permissions(publish=(">",), subscribe=(">",))}


def nats_binaries() -> dict[str, Path]:
    """The server programs by the names in NATS_VERSIONS; both are there after `make setup`."""
    binaries = {"2.10": nats_binary.examine(OLDEST, "run `make setup`"), "newest": _newest()}
    assert binaries["2.10"].version.startswith("2.10."), binaries
    return {name: binary.path for name, binary in binaries.items()}


def _newest() -> nats_binary.NatsBinary:
    return nats_binary.examine(nats_binary.packaged(), "run `make setup`")


class NatsServer:
    """One server on loopback with JetStream in `folder`; it dies with the test process."""

    def __init__(self, binary: Path, folder: Path, settings: ServerSettings):
        self.binary = binary
        self.folder = folder
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return self.settings.port

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was never started"
        return self._process.pid

    def password(self, user: str = "test") -> str:
        return self.settings.users[user].password

    async def connect(self, user: str = "test", **options: Any) -> Client:
        """A client of this user, with its own inbox prefix; `options` as for `nats.connect`."""
        chosen = {"inbox_prefix": f"_INBOX_{user}".encode(), "max_reconnect_attempts": -1, **options}
        return await nats.connect(self.url, user=user, password=self.password(user), **chosen)

    async def start(self) -> None:
        """Returns when it answers, on the port and store it had before."""
        config = self.folder / "server.json"
        config.write_text(render(self.settings))
        with (self.folder / "server.err").open("wb") as errors:
            launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid())]
            self._process = process = subprocess.Popen(  # noqa: ASYNC220
                [*launcher, str(self.binary), "-c", str(config)], stdout=errors, stderr=errors
            )
        async with asyncio.timeout(20):
            await loopback.until_nats_answers(
                self.port, self.settings.server_name, unless=lambda: process.poll() is not None
            )
        if process.returncode is not None:
            raise RuntimeError(f"nats-server ended with {process.returncode}: {self.said()}")

    def said(self) -> str:
        """What it logged, of all its lives."""
        files = (self.folder / "server.log", self.folder / "server.err")
        return "\n".join(file.read_text() for file in files if file.exists())

    async def kill(self) -> None:
        """As by kill -9; returns when it is gone."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> None:
        """In order, as by SIGTERM; returns when it is gone."""
        await self._end(signal.SIGTERM)

    def pause(self) -> None:
        freeze(self.pid)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def _end(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            await asyncio.to_thread(self._process.wait, 20)


class NatsCluster:
    """Three servers on loopback, below `folder`. To be killed, paused and started means all of them.

    `servers` are the single ones; the port and the process of a cluster are those of the first.
    """

    def __init__(self, servers: Sequence[NatsServer], folder: Path):
        self.servers = tuple(servers)
        self.folder = folder

    @property
    def settings(self) -> ServerSettings:
        return self.servers[0].settings

    @property
    def url(self) -> str:
        return ",".join(server.url for server in self.servers)

    @property
    def port(self) -> int:
        return self.servers[0].port

    @property
    def pid(self) -> int:
        return self.servers[0].pid

    def password(self, user: str = "test") -> str:
        return self.servers[0].password(user)

    async def connect(self, user: str = "test", **options: Any) -> Client:
        chosen = {"inbox_prefix": f"_INBOX_{user}".encode(), "max_reconnect_attempts": -1, **options}
        return await nats.connect(servers_of(self.url), user=user, password=self.password(user), **chosen)

    async def start(self) -> None:
        """Returns when they have found one another, and each has all that the others have."""
        await asyncio.gather(*(server.start() for server in self.servers))
        await self.healthy()

    async def healthy(self) -> None:
        async with asyncio.timeout(60), httpx.AsyncClient() as client:
            for server in self.servers:
                while not await _is_healthy(client, server):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    def said(self) -> str:
        return "\n".join(server.said() for server in self.servers)

    async def kill(self) -> None:
        await asyncio.gather(*(server.kill() for server in self.servers))

    async def terminate(self) -> None:
        await asyncio.gather(*(server.terminate() for server in self.servers))

    def pause(self) -> None:
        for server in self.servers:
            server.pause()

    def resume(self) -> None:
        for server in self.servers:
            server.resume()


NatsServers = NatsServer | NatsCluster


async def _is_healthy(client: httpx.AsyncClient, server: NatsServer) -> bool:
    try:
        return (await client.get(f"http://127.0.0.1:{server.settings.health_port}/healthz")).status_code == 200
    except httpx.TransportError:
        return False


@asynccontextmanager
async def running_nats(
    version: str = "newest",
    *,
    users: Mapping[str, Permissions] = EVERYTHING,
    folder: Path | None = None,
    max_file_store: int = 8 * GIB,
    max_payload: int = 1024 * 1024,
    issuer: str | None = None,
) -> AsyncGenerator[NatsServer]:
    """A server of that version that answers; gone afterwards, and its folder too unless given.

    `issuer`: the public key of a gateway that says who may connect besides `users`.
    """
    place = folder or Path(tempfile.mkdtemp(prefix="machete-nats-"))
    settings = ServerSettings(
        server_name=f"test-{secrets.token_hex(4)}",
        port=_port(),
        folder=place,
        max_file_store=max_file_store,
        users={name: NatsUser(secrets.token_urlsafe(32), allowed) for name, allowed in users.items()},
        max_payload=max_payload,
        issuer=issuer,
    )
    server = NatsServer(nats_binaries()[version], place, settings)
    try:
        await server.start()
        yield server
    finally:
        await server.kill()
        if folder is None:
            shutil.rmtree(place)


@asynccontextmanager
async def running_cluster(
    *, users: Mapping[str, Permissions] = EVERYTHING, issuer: str | None = None, folder: Path | None = None
) -> AsyncGenerator[NatsCluster]:
    """Three servers of the newest version that know one another; gone afterwards, with their folders unless given."""
    place = folder or Path(tempfile.mkdtemp(prefix="machete-nats-"))
    ports = _ports(9)
    given = {name: NatsUser(secrets.token_urlsafe(32), allowed) for name, allowed in users.items()}
    routes, password = [f"127.0.0.1:{port}" for port in ports[3:6]], secrets.token_urlsafe(32)
    servers: list[NatsServer] = []
    for number in range(3):
        (own := place / str(number)).mkdir()
        settings = ServerSettings(
            server_name=f"test-{number}-{secrets.token_hex(4)}",
            port=ports[number],
            folder=own,
            max_file_store=8 * GIB,
            users=given,
            issuer=issuer,
            cluster=Cluster("test", ports[3 + number], routes, password),
            health_port=ports[6 + number],
        )
        servers.append(NatsServer(nats_binaries()["newest"], own, settings))
    cluster = NatsCluster(servers, place)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.kill()
        if folder is None:
            shutil.rmtree(place)


def running_servers(
    kind: str,
    *,
    users: Mapping[str, Permissions] = EVERYTHING,
    issuer: str | None = None,
    folder: Path | None = None,
) -> AbstractAsyncContextManager[NatsServers]:
    """One of NATS_KINDS. A folder that is given stays."""
    if kind == "three" or (kind == "newest" and os.environ.get("MACHETE_TEST_NATS") == "three"):
        return running_cluster(users=users, issuer=issuer, folder=folder)
    return running_nats(kind, users=users, issuer=issuer, folder=folder)


def _port() -> int:
    return _ports(1)[0]


def _ports(count: int) -> list[int]:
    """Below those that the kernel gives to clients, so that none of them sits on it while its server is down."""
    start = random.randrange(20_000, 30_000)
    return [port for port in range(start, start + 1000) if loopback.is_free(port)][:count]


@asynccontextmanager
async def embedded_client(server: EmbeddedNats, user: str = "test") -> AsyncGenerator[Client]:
    """A client of an embedded server that comes back whenever the server does."""
    connection = await nats.connect(
        server.url,
        user=user,
        password=server.credentials[user],
        inbox_prefix=f"_INBOX_{user}".encode(),
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.05,
        error_cb=unheard,
    )
    try:
        yield connection
    finally:
        await close(connection)


async def unheard(_: Exception) -> None:
    """For tests whose subject is losing the connection or being refused: nothing to report about that."""
