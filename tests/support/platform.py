"""A whole platform under test: real NATS, each service a process of its own or all in one, the real engine, real Git.

    async with split_platform(tmp_path, orchestrator=2) as platform:
        accepted = await platform.api.install("hello", platform.forge.tool("hello", web()), start=True)
        ended = await platform.ended(accepted)

Leaving ends all its processes by their pids, finds that none is left, and removes from the engine all that
carries the platform's instance id, however the test went.

With MACHETE_TEST_DATABASE=postgres, gateway and status keep what is theirs in a PostgreSQL server of the platform's
own, unless the test says where.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from libs.contracts.engines import ToolObserved
from libs.contracts.operations import OperationEnded
from libs.contracts.permissions import permissions
from libs.contracts.streams import EVENTS, STATES
from libs.contracts.subjects import STATE, TOOL_ENGINE
from libs.contracts.tools import ToolRecorded
from libs.runtime import loopback, nats_issuer
from libs.runtime.bus.connecting import connect
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.provision import provision, provisioned
from libs.runtime.bus.records import Record, Records
from libs.runtime.nats_keys import Issuer, new_issuer
from tests.support.nats_server import NatsServers, running_servers
from tests.support.platform_api import Accepted, Api
from tests.support.platform_engine import OtherHand
from tests.support.platform_process import Process, belonging_to
from tests.support.platform_tools import Forge, Gate
from tests.support.platform_waiting import WITHIN, until
from tests.support.postgres import Databases, on_postgres, running_databases

# Seconds: an owner that fell silent is noticed soon enough for a test, and not because a machine is busy.
ACK_WAIT = 3.0
WATCHDOG_BOUND = 1.5
TIMES = {
    "MACHETE_ACK_WAIT": str(ACK_WAIT),
    "MACHETE_HEARTBEAT": "0.5",
    "MACHETE_WATCHDOG_BOUND": str(WATCHDOG_BOUND),
}
SERVICES = ("gateway", "installer", "orchestrator", "status")


@dataclass
class Platform:
    """`processes` by name (`orchestrator`, `orchestrator-2`, …; `machete` for all in one), each with a port it keeps.

    `api` speaks to the (first) gateway. `bus` reads everything. Without `databases`, each service has its own, a file.
    """

    data: Path
    environment: dict[str, str]
    forge: Forge
    gate: Gate
    databases: Databases | None = None
    api: Api = field(init=False)
    bus: Bus = field(init=False)
    hand: OtherHand = field(init=False)
    instance: str = field(init=False)
    nats_url: str = ""
    nats: NatsServers | None = None
    processes: dict[str, Process] = field(default_factory=dict[str, Process])
    program: Sequence[str] = ("services",)  # what a service is started as: a module and its first words

    # Its parts.

    def add(self, service: str, **environment: str) -> Process:
        """Another replica of a service, not yet started."""
        count = sum(name.split("-")[0] == service for name in self.processes)
        name = service if not count else f"{service}-{count + 1}"
        argv = [sys.executable, "-m", *self.program, service]
        return self._process(name, argv, environment)

    def add_whole(self) -> Process:
        argv = [str(Path(sys.executable).with_name("machete")), "up", "--data", str(self.data)]
        return self._process("machete", argv, {})

    def _process(self, name: str, argv: list[str], environment: Mapping[str, str]) -> Process:
        log = self.data.parent / f"{name}.log"
        port = {"MACHETE_PORT": str(_free_port())}
        self.processes[name] = Process(name, argv, {**self.environment, **port, **environment}, log)
        return self.processes[name]

    def replicas(self, service: str) -> list[Process]:
        return [each for name, each in self.processes.items() if name.split("-")[0] == service]

    async def start(self) -> None:
        """All processes that do not run, at once."""
        waiting = [each for each in self.processes.values() if not each.alive]
        for each in waiting:
            each.launch()
        for each in waiting:
            await each.ready()

    def url(self, service: str = "gateway") -> str:
        return (self.processes.get(service) or self.processes["machete"]).url

    def api_of(self, service: str = "gateway") -> Api:
        """Its HTTP interface; close it with `async with`."""
        return Api(self.url(service), (self.data / "admin.token").read_text().strip())

    def as_user(self, user: str) -> AbstractAsyncContextManager[Bus]:
        """Another connection, with the rights of this NATS user."""
        passwords = json.loads((self.data / "nats" / "credentials.json").read_text())
        return connect(self.nats_url, user=user, password=passwords[user], service=user, source=f"{user}/test")

    # What came of it.

    async def record(self, accepted: Accepted) -> Record:
        return await Records(self.bus).read(accepted.tool, accepted.operation)

    async def ended(self, accepted: Accepted, within: float = WITHIN) -> OperationEnded:
        """How it ended, as its record says; `api` knows of it."""

        async def look() -> Record | None:
            record = await self.record(accepted)
            return record if record.ended is not None else None

        record: Record = await until(look, f"{accepted.kind} {accepted.operation} ends", within)
        self.api.knows(record.last)
        assert record.ended is not None
        return record.ended

    async def started(self, accepted: Accepted, times: int = 1) -> int:
        """The fence of that start of the operation, as soon as there is one."""

        async def look() -> int | None:
            starts = (await self.record(accepted)).starts
            return starts[times - 1][0] if len(starts) >= times else None

        return await until(look, f"start {times} of {accepted.kind}")

    async def recorded(self, tool: str) -> ToolRecorded | None:
        kept = await self.bus.last(STATES, STATE.build({"tool": tool}))
        said = kept.open().data if kept is not None else None
        return said if isinstance(said, ToolRecorded) else None

    async def observed(self, tool: str) -> list[ToolObserved]:
        """All that was said of what the engine did with the tool, oldest first."""
        subject, found = TOOL_ENGINE.build({"tool": tool}), list[ToolObserved]()
        kept = await self.bus.next(EVENTS, subject, 1)
        while kept is not None:
            said = kept.open().data
            if isinstance(said, ToolObserved):
                found.append(said)
            kept = await self.bus.next(EVENTS, subject, kept.sequence + 1)
        return found

    def folder_of(self, tool: str) -> Path:
        return self.data / "tools" / tool

    def let_go(self, tool: str) -> None:
        """What a tool made by `waits_for_go` waits for; nothing if it is gone."""
        folder = self.folder_of(tool) / "data" / "data"
        if folder.exists():
            (folder / "go").touch()

    async def is_gone(self, tool: str) -> None:
        """Returns when nothing of the tool is left, on the engine and on disk."""

        async def look() -> bool:
            return (await self.hand.seen(tool)).nothing and not self.folder_of(tool).exists()

        try:
            await until(look, f"nothing is left of {tool}", 15)
        except AssertionError:
            raise AssertionError(f"left of {tool}: {await self.hand.seen(tool)}, {self.folder_of(tool)}") from None

    def complaints(self) -> list[str]:
        """What broke in a way that nobody provided for, by the services' own words, in all their lives."""
        return [
            f"{name}: {json.dumps(line)[:3000]}"
            for name, process in self.processes.items()
            for line in process.lines(in_all_lives=True)
            if "exception" in line
        ]


@asynccontextmanager
async def split_platform(
    folder: Path,
    version: str = "newest",
    environment: Mapping[str, str] | None = None,
    streams: Path | None = None,
    **replicas: int,
) -> AsyncGenerator[Platform]:
    """Each service as processes of its own: one of each, unless `replicas` says `orchestrator=2`; 0 leaves it out.

    `streams` is where the NATS server keeps them, instead of in a folder that goes with it.
    """
    async with AsyncExitStack() as stack:
        issuer = new_issuer()
        running = running_servers(version, users=permissions(), issuer=issuer.public, folder=streams)
        server = await stack.enter_async_context(running)
        platform = await _bare(stack, folder, {"MACHETE_NATS_URL": server.url, **(environment or {})})
        platform.nats = server
        _write_credentials(platform.data, server, issuer)
        platform.nats_url = server.url
        platform.bus = await stack.enter_async_context(platform.as_user("platform"))
        ack_wait = float(platform.environment["MACHETE_ACK_WAIT"])
        platform.instance = await provision(platform.bus, ack_wait=ack_wait)
        _prepare_engine(stack, platform)
        for service in SERVICES:
            for _ in range(replicas.get(service, 1)):
                platform.add(service)
        await platform.start()
        if platform.replicas("gateway"):
            platform.api = await stack.enter_async_context(platform.api_of("gateway"))
        yield platform


@asynccontextmanager
async def whole_platform(folder: Path, environment: Mapping[str, str] | None = None) -> AsyncGenerator[Platform]:
    """`machete up`: one process with everything in it, and a NATS server below it."""
    async with AsyncExitStack() as stack:
        platform = await _bare(stack, folder, environment or {})
        platform.add_whole()
        await platform.start()
        port = int((platform.data / "nats" / "port").read_text())
        platform.nats_url = f"nats://127.0.0.1:{port}"
        platform.bus = await stack.enter_async_context(platform.as_user("platform"))
        platform.instance = await provisioned(platform.bus)
        _prepare_engine(stack, platform)
        platform.api = await stack.enter_async_context(platform.api_of("gateway"))
        yield platform


async def _bare(stack: AsyncExitStack, folder: Path, environment: Mapping[str, str]) -> Platform:
    data = folder / "data"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    databases = stack.enter_context(running_databases()) if on_postgres() else None
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MACHETE_")}
    settings = {
        **inherited,
        **TIMES,
        "MACHETE_DATA": str(data),
        "MACHETE_GIT_PROTOCOLS": "https,http",
        "MACHETE_STOP_TIMEOUT": "3",
        **(databases.environment if databases else {}),
        **environment,
    }
    forge = stack.enter_context(Forge(folder / "git"))
    gate = stack.enter_context(Gate())
    platform = Platform(data, settings, forge, gate, databases)
    stack.push_async_callback(_end, platform)
    return platform


def _prepare_engine(stack: AsyncExitStack, platform: Platform) -> None:
    platform.hand = OtherHand(platform.instance)
    stack.callback(platform.hand.close)
    stack.callback(platform.hand.sweep)
    # Once more, before the engine is swept: nobody may make anything new meanwhile.
    stack.push_async_callback(_end, platform)


async def _end(platform: Platform) -> None:
    """Safe to repeat. In the end no process may be left that has to do with the platform, but for its NATS server."""
    for process in platform.processes.values():
        await process.kill()

    def nobody() -> bool:
        return not _left(platform)

    try:
        await until(nobody, "all processes of the platform are gone", 4 * WATCHDOG_BOUND)
    except AssertionError:
        raise AssertionError(f"left behind by a platform that was killed: {_left(platform)}") from None


def _left(platform: Platform) -> dict[int, str]:
    return belonging_to(platform.data)


def _write_credentials(data: Path, server: NatsServers, issuer: Issuer) -> None:
    folder = data / "nats"
    folder.mkdir(mode=0o700)
    passwords = {user: server.password(user) for user in server.settings.users}
    (folder / "credentials.json").write_text(json.dumps(passwords))
    nats_issuer.write(folder / nats_issuer.NAME, issuer)


_given: set[int] = set()


def _free_port() -> int:
    """Of its own, below those that tools get and those that the kernel gives to clients.

    So nobody sits on it while its server is down, and no two servers are given the same before they listen.
    """
    start = random.randrange(11_000, 18_000)
    port = next(port for port in range(start, start + 1000) if port not in _given and loopback.is_free(port))
    _given.add(port)
    return port
