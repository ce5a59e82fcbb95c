"""The NATS server that comes with the platform: a supervised child, on loopback, with the data to itself.

    async with EmbeddedNats(data, permissions()) as nats:
        ... nats.url, nats.credentials["gateway"] ...

It answers once `start()` has returned. It dies with this process, by kill -9 too. If it dies by itself, or its disk was
full and has room again, it is started again on the same port and the same data, and clients reconnect.
"""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from libs.contracts.permissions import Permissions
from libs.runtime import loopback, nats_binary, nats_credentials, nats_issuer, private_files
from libs.runtime.datalock import DataLock
from libs.runtime.logging import get_logger
from libs.runtime.nats_binary import NatsBinary
from libs.runtime.nats_config import NatsUser, ServerSettings, render, storage_limit, storage_limit_of
from libs.runtime.processes import exit_of

USUAL_PORT = 4222
LAUNCHER = Path(__file__).with_name("dies_with_parent.py")
# A store of many gigabytes takes its time to be read before the server answers.
START_LIMIT = 120.0
STOP_LIMIT = 10.0
LONGEST_PAUSE = 5.0
# A server that has lived this long did not die of how it was started.
SETTLED = 30.0
# What it logs when a disk took no more: that stream then takes nothing until the server is started again (2.15).
STUCK = b"critical write error"
LOOK_FOR_STUCK = 2.0  # seconds
ROOM = 16 * 1024 * 1024  # bytes that must be free for that

log = get_logger(__name__)


class NatsFailed(RuntimeError):
    """The server does not start; the text carries what it said."""


class EmbeddedNats:
    """`users` are the server's users by name; their passwords are made at first start, see `credentials`.

    `<data>/nats/` holds all of it: `jetstream/`, `server.json`, `server.log`, `credentials.json`, `port`, `lock`.
    With `agents` others may connect too, if the gateway says so: it signs with the key in `issuer.json`.
    """

    def __init__(
        self, data: Path, users: Mapping[str, Permissions], *, max_payload: int = 1024 * 1024, agents: bool = False
    ):
        self.folder = data.absolute() / "nats"
        self.credentials: Mapping[str, str] = {}
        self.restarts = 0
        self._users = users
        self._max_payload = max_payload
        self._agents = agents
        self._issuer: str | None = None
        self._lock = DataLock(self.folder)
        self._binary: NatsBinary | None = None
        self._port = 0
        self._server: subprocess.Popen[bytes] | None = None
        self._exit: asyncio.Future[int] | None = None
        self._supervision: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """Of the server that runs now; None while none does."""
        return None if self._server is None or self._server.returncode is not None else self._server.pid

    @property
    def version(self) -> str:
        """Of the server's program; empty before the start."""
        return self._binary.version if self._binary else ""

    @property
    def name(self) -> str:
        """What the server calls itself, the same at every start on the same data."""
        return "machete-" + hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]

    async def start(self) -> None:
        """Returns when the server answers; to be called on the main thread.

        Raises `NoNatsServer`, `DataHeld`, `BadCredentials` or `NatsFailed`, and then holds nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("start the NATS server on the main thread: it is killed when its thread ends")
        self._binary = await asyncio.to_thread(nats_binary.find)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        await asyncio.to_thread(self._lock.acquire)
        try:
            self.credentials = nats_credentials.ensure(self.folder / "credentials.json", self._users)
            if self._agents:
                self._issuer = nats_issuer.ensure(self.folder / nats_issuer.NAME).public
            await self._start_on_a_free_port()
        except BaseException:
            await self.stop()
            raise
        self._lock.announce(self.url)
        self._supervision = asyncio.create_task(self._supervise(), name="embedded NATS server")
        log.info("NATS server started", url=self.url, version=self.version, program=str(self._binary.path))

    async def stop(self) -> None:
        """Ends the server (SIGTERM, later SIGKILL) and lets the data go. Safe to repeat."""
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.wait([self._supervision])
            self._supervision = None
        try:
            await self._end_server()
        finally:
            self._lock.release()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _start_on_a_free_port(self) -> None:
        remembered = self.folder / "port"
        for port in loopback.candidates(_number_in(remembered), USUAL_PORT):
            self._port = port
            self._configure()
            try:
                await self._launch()
            except NatsFailed:
                if not loopback.is_free(port):  # somebody was faster
                    continue
                raise
            remembered.write_text(f"{port}\n")
            return

    def _configure(self) -> None:
        store, config = self.folder / "jetstream", self.folder / "server.json"
        store.mkdir(mode=0o700, exist_ok=True)
        free = shutil.disk_usage(store).free
        users = {user: NatsUser(self.credentials[user], allowed) for user, allowed in self._users.items()}
        settings = ServerSettings(
            server_name=self.name,
            port=self._port,
            folder=self.folder,
            max_file_store=storage_limit(free, _size_of(store), _limit_before(config)),
            users=users,
            max_payload=self._max_payload,
            issuer=self._issuer,
        )
        private_files.write(config, render(settings))

    async def _launch(self) -> None:
        """Starts the server as configured and waits for its answer; raises `NatsFailed` with none left."""
        self._server = self._spawn()
        self._exit = ended = exit_of(self._server)
        try:
            async with asyncio.timeout(START_LIMIT):
                await loopback.until_nats_answers(self._port, self.name, unless=ended.done)
        except TimeoutError:
            await self._end_server()
            raise NatsFailed(f"the NATS server does not answer on port {self._port}: {self._last_words()}") from None
        if ended.done():
            raise NatsFailed(f"the NATS server ended with {ended.result()}: {self._last_words()}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        assert self._binary is not None
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid())]
        with (self.folder / "server.err").open("wb") as errors:
            return subprocess.Popen(
                [*launcher, str(self._binary.path), "-c", str(self.folder / "server.json")],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                cwd=self.folder,
                pass_fds=[self._lock.fileno()],
                start_new_session=True,
            )

    def _last_words(self) -> str:
        said = (_tail(self.folder / name) for name in ("server.err", "server.log"))
        return "\n".join(text for text in said if text) or "it said nothing"

    async def _supervise(self) -> None:
        """Starts the server again whenever it dies, at once and then in ever longer pauses of some seconds."""
        pause = 0.0
        while True:
            assert self._exit is not None
            begun = time.monotonic()
            code = await self._ended(self._exit)
            if time.monotonic() - begun > SETTLED:
                pause = 0.0
            log.error("NATS server died and is started again", code=code, pause=pause, said=self._last_words())
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, max(0.1, 2 * pause))
            try:
                await self._launch()
            except (NatsFailed, OSError) as problem:
                log.error("NATS server does not start", problem=str(problem))
                continue
            self.restarts += 1
            log.info("NATS server is back", url=self.url, restarts=self.restarts)

    async def _ended(self, ended: asyncio.Future[int]) -> int:
        """How the server ended; by us, where it was stuck and need not be any more."""
        said, stuck = self.folder / "server.log", False
        read = said.stat().st_size if said.exists() else 0
        while not (await asyncio.wait([ended], timeout=LOOK_FOR_STUCK))[0]:
            news, read = _news(said, read)
            stuck = stuck or STUCK in news
            if stuck and shutil.disk_usage(self.folder).free > ROOM:
                log.warning("NATS server takes nothing since its disk was full: it is started again")
                await self._end_server()
        return ended.result()

    async def _end_server(self) -> None:
        if self._server is None or self._exit is None:
            return
        if not self._exit.done():
            self._server.terminate()
            try:
                async with asyncio.timeout(STOP_LIMIT):
                    await asyncio.shield(self._exit)
            except TimeoutError:
                log.warning("NATS server does not stop and is killed", seconds=STOP_LIMIT)
                self._server.kill()
                await asyncio.shield(self._exit)


def _number_in(path: Path) -> int | None:
    """The port written in `path`, if there is one."""
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _size_of(folder: Path) -> int:
    """Bytes the files below `folder` take."""
    return sum(
        os.stat(name, dir_fd=handle).st_blocks * 512 for _, _, names, handle in os.fwalk(folder) for name in names
    )


def _limit_before(config: Path) -> int:
    try:
        return storage_limit_of(config.read_text())
    except FileNotFoundError:
        return 0
    except ValueError as error:
        raise NatsFailed(f"{config} is damaged ({error}): remove it, it is written anew") from error


def _news(path: Path, read: int) -> tuple[bytes, int]:
    """What stands in the file behind the first `read` bytes, and how long it is; all of one that was begun anew."""
    try:
        with path.open("rb") as file:
            file.seek(read if read <= path.stat().st_size else 0)
            return file.read(), file.tell()
    except FileNotFoundError:
        return b"", 0


def _tail(path: Path, most: int = 2000) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - most))
            return file.read().decode(errors="replace").strip()
    except FileNotFoundError:
        return ""
