"""Real NATS servers for tests, of the oldest supported and the newest version, to be killed and paused at will.

async with running_nats(nats_binaries()["2.10"]) as server:
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
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client

from libs.contracts.permissions import Permissions
from libs.runtime import loopback, nats_binary
from libs.runtime.embedded import LAUNCHER, EmbeddedNats
from libs.runtime.nats_config import GIB, NatsUser, ServerSettings, render

OLDEST = Path(sys.prefix, "nats-2.10", "bin", "nats-server")
NATS_VERSIONS = ("2.10", "newest")
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
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def _end(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            await asyncio.to_thread(self._process.wait, 20)


@asynccontextmanager
async def running_nats(
    binary: Path | None = None,
    *,
    users: Mapping[str, Permissions] = EVERYTHING,
    folder: Path | None = None,
    max_file_store: int = 8 * GIB,
    max_payload: int = 1024 * 1024,
    issuer: str | None = None,
) -> AsyncGenerator[NatsServer]:
    """A server that answers, the newest without `binary`; gone afterwards, and its folder too unless given.

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
    server = NatsServer(binary or _newest().path, place, settings)
    try:
        await server.start()
        yield server
    finally:
        await server.kill()
        if folder is None:
            shutil.rmtree(place)


def _port() -> int:
    """Below those that the kernel gives to clients, so that none of them sits on it while its server is down."""
    start = random.randrange(20_000, 30_000)
    return next(port for port in range(start, start + 1000) if loopback.is_free(port))


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
        await connection.close()


async def unheard(_: Exception) -> None:
    """For tests whose subject is losing the connection or being refused: nothing to report about that."""
