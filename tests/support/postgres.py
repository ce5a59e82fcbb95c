"""A real PostgreSQL server for tests, to be killed and paused at will.

with running_postgres() as server:
    url = server.database()
    server.kill()
    server.start()     # same port, same data

The fixture `postgres` is one for the whole session, `postgres_url` an empty database of it for one test.
Its databases sort text as dictionaries do, which pass over hyphens: who needs another order finds out.
"""

from __future__ import annotations

import os
import pwd
import random
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
from psycopg import sql

from deploy.setup import postgres as postgres_setup
from libs.runtime import loopback
from tests.support.processes import freeze, state_of

USER = "machete"
SUPERUSER = "postgres"
WITHIN = 30.0
# What a crash of the machine would take is of no interest here; what a crash of the server leaves is.
OPTIONS = {
    "listen_addresses": loopback.ADDRESS,
    "unix_socket_directories": "",
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_connections": "50",
    "dynamic_shared_memory_type": "mmap",
    "logging_collector": "off",
}


def program(name: str) -> str:
    """A program of the server's; there after `make setup`."""
    folder = postgres_setup.programs()
    assert folder is not None, "there is no PostgreSQL server: run `make setup`"
    return str(folder / name)


class PostgresServer:
    """One server on loopback with its data in `folder`; it dies with the test process.

    To be started from the main thread: the kernel watches the thread that did it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _port()
        self.password = secrets.token_urlsafe(16)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was never started"
        return self._process.pid

    def initialise(self) -> None:
        """The data folder, and the user who owns the databases."""
        words = self.folder / "password"
        words.write_text(self.password)
        words.chmod(0o644)
        locale = ("--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US-u-ka-shifted")
        access = (f"--username={SUPERUSER}", f"--pwfile={words}", "--auth=scram-sha-256")
        argv = [program("initdb"), f"--pgdata={self.folder / 'data'}", *access, *locale, "--no-sync"]
        done = subprocess.run([*_unprivileged(), *argv], cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        self.start()
        with self.admin() as connection:
            create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
            connection.execute(create.format(sql.Identifier(USER), sql.Literal(self.password)))

    def start(self) -> None:
        """Returns when it answers, on the port and data it had before."""
        options = [
            word for name, value in {**OPTIONS, "port": str(self.port)}.items() for word in ("-c", f"{name}={value}")
        ]
        argv = [program("postgres"), "-D", str(self.folder / "data"), *options]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen([*_unprivileged(), *argv], stdout=log, stderr=log, cwd="/")
        give_up = time.monotonic() + WITHIN
        while True:
            try:
                self.admin().close()
                return
            except psycopg.OperationalError as problem:
                if self._process.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError(f"PostgreSQL does not start: {self.said()}") from problem
                time.sleep(0.02)

    def said(self) -> str:
        """What it logged, of all its lives."""
        return (self.folder / "server.log").read_text()

    def admin(self, database: str = "postgres") -> psycopg.Connection:
        """A connection of the superuser, each statement its own transaction; `with` closes it."""
        return psycopg.connect(
            host=loopback.ADDRESS,
            port=self.port,
            user=SUPERUSER,
            password=self.password,
            dbname=database,
            connect_timeout=5,
            autocommit=True,
        )

    def database(self) -> str:
        """A new and empty one, owned by an ordinary user: the address that SQLAlchemy takes."""
        name = f"test_{secrets.token_hex(6)}"
        self._create(name)
        return f"postgresql+psycopg://{USER}:{self.password}@{loopback.ADDRESS}:{self.port}/{name}"

    def _create(self, name: str) -> None:
        create = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(
            sql.Identifier(name), sql.Identifier(USER)
        )
        with self.admin() as connection:
            connection.execute(create)

    def drop(self, url: str) -> None:
        """Of a database that `database` gave; who is still connected loses the connection."""
        name = sql.Identifier(_name(url))
        with self.admin() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    def lose(self, url: str) -> None:
        """All that the database held; it is there again at once, and empty."""
        self.drop(url)
        self._create(_name(url))

    def kill(self) -> None:
        """All its processes, as by kill -9; returns when they are gone."""
        self._end(signal.SIGKILL, self._processes())

    def terminate(self) -> None:
        """In order: who is connected is told, and cut off. Returns when it is gone."""
        self._end(signal.SIGINT, self._processes()[:1])

    def pause(self) -> None:
        """Connections stand, and nothing is answered."""
        freeze(*(each.pid for each in self._processes()))

    def resume(self) -> None:
        _send(signal.SIGCONT, self._processes())

    def _processes(self) -> list[psutil.Process]:
        """The server's own first, then what it started for each connection."""
        if self._process is None or self._process.poll() is not None:
            return []
        server = psutil.Process(self._process.pid)
        return [server, *server.children(recursive=True)]

    def _end(self, number: signal.Signals, processes: list[psutil.Process]) -> None:
        _send(number, processes)
        if self._process is not None:
            self._process.wait(WITHIN)
        give_up = time.monotonic() + WITHIN
        while any(state_of(process.pid) not in (None, "Z") for process in processes):
            assert time.monotonic() < give_up, f"still there: {processes}"
            time.sleep(0.005)


def _name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


def _send(number: signal.Signals, processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue  # its connection, or the whole server, ended in between


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server of one's own that answers; gone afterwards, and its data too."""
    folder = Path(tempfile.mkdtemp(prefix="machete-postgres-"))
    os.chown(folder, _account().pw_uid, _account().pw_gid)
    server = PostgresServer(folder)
    try:
        server.initialise()
        yield server
    finally:
        server.resume()
        server.terminate()
        shutil.rmtree(folder)


@dataclass(frozen=True)
class Databases:
    """The server that all services of a platform share, and the addresses of what gateway and status keep there."""

    server: PostgresServer
    gateway: str
    status: str

    @property
    def environment(self) -> dict[str, str]:
        return {"MACHETE_GATEWAY_DATABASE": self.gateway, "MACHETE_STATUS_DATABASE": self.status}


def on_postgres() -> bool:
    """Whether all platforms under test are to keep what they know in a server."""
    return os.environ.get("MACHETE_TEST_DATABASE") == "postgres"


@contextmanager
def running_databases() -> Iterator[Databases]:
    """Of one platform, in a server of its own."""
    with running_postgres() as server:
        yield Databases(server, gateway=server.database(), status=server.database())


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's server. Who kills or pauses one takes `running_postgres` instead."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database, dropped after the test."""
    url = postgres.database()
    yield url
    postgres.drop(url)


def _account() -> pwd.struct_passwd:
    """PostgreSQL refuses to be root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def _unprivileged() -> list[str]:
    """What goes before a program that shall run as that account, and be killed when the test process dies."""
    dies_with_us = ["setpriv", "--pdeathsig=KILL"]
    if os.geteuid() != 0:
        return dies_with_us
    account = _account()
    return [*dies_with_us, f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]


def _port() -> int:
    """Below those that the kernel gives to clients, so that none of them sits on it while its server is down."""
    start = random.randrange(20_000, 30_000)
    return next(port for port in range(start, start + 1000) if loopback.is_free(port))
