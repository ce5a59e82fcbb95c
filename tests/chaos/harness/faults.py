"""Faults, done to the real parts of a stage; each says when it began and when all it took away was given back."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import docker.errors
import structlog
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from libs.contracts.streams import COMMANDS, TASKS
from tests.chaos.harness.disks import filled
from tests.chaos.harness.history import Fault
from tests.chaos.harness.plan import Planned
from tests.chaos.harness.stage import Stage
from tests.chaos.harness.watcher import Watcher
from tests.support.clocks import wrong
from tests.support.platform_process import Process

# Holds the lock that writers need until its input ends.
HOLD = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
held.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""
WRONG = ("+1h", "-1h")
Thing = TypeVar("Thing")
log = structlog.get_logger(__name__)
Done = Callable[[Planned], Awaitable[tuple[str, str | None] | None]]


class Faults:
    """`add` is given each fault that was done, with times from `now`."""

    def __init__(self, stage: Stage, now: Callable[[], float], add: Callable[[Fault], None]) -> None:
        self._stage = stage
        self._now = now
        self._add = add
        self._busy: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._ways: dict[str, Done] = {
            "kill": self._kill,
            "pause": self._pause,
            "cut": self._cut,
            "nats-killed": self._nats_killed,
            "consumer-deleted": self._consumer_deleted,
            "store-full": self._store_full,
            "engine-cut": self._engine_cut,
            "container-killed": self._container_killed,
            "container-removed": self._container_removed,
            "database-locked": self._database_locked,
            "database-lost": self._database_lost,
            "disk-full": self._disk_full,
            "nats-disk-full": self._nats_disk_full,
            "clock-wrong": self._clock_wrong,
        }

    async def do(self, planned: Planned) -> None:
        """Returns when it is over. What cannot be done now, because there is nothing to do it to, is left out."""
        began = self._now()
        done = await self._ways[planned.kind](planned)
        if done is not None:
            target, tool = done
            service = target.split("-")[0]
            kind = planned.kind if planned.target == planned.kind else f"{planned.kind} {service}"
            self._add(Fault(kind, target, began, self._now(), tool))

    # Processes.

    async def _kill(self, planned: Planned) -> tuple[str, None]:
        process = self._replica(planned)
        async with self._busy[process.name]:
            await process.kill()
            await asyncio.sleep(planned.seconds)
            await self._stage.bring_up(process)
        return process.name, None

    async def _pause(self, planned: Planned) -> tuple[str, None]:
        process = self._replica(planned)
        async with self._busy[process.name]:
            await process.pause()
            await asyncio.sleep(planned.seconds)
            process.wake()
        return process.name, None

    async def _cut(self, planned: Planned) -> tuple[str, None]:
        process = self._replica(planned)
        async with self._busy[process.name]:
            self._stage.lines[process.name].cut()
            await asyncio.sleep(planned.seconds)
            self._stage.lines[process.name].mend()
        return process.name, None

    async def _clock_wrong(self, planned: Planned) -> tuple[str, None]:
        """One life of a process an hour ahead of everybody else, or behind."""
        process = self._replica(planned)
        async with self._busy[process.name]:
            await process.kill()
            with process.given(wrong(WRONG[planned.number % len(WRONG)])):
                await self._stage.bring_up(process)
            await asyncio.sleep(planned.seconds)
            await process.kill()
            await self._stage.bring_up(process)
        return process.name, None

    def _replica(self, planned: Planned) -> Process:
        return _chosen(self._stage.platform.replicas(planned.target), planned)

    # NATS and the engine.

    async def _nats_killed(self, planned: Planned) -> tuple[str, None]:
        nats = self._stage.platform.nats
        assert nats is not None
        async with self._busy["nats"]:
            await nats.kill()
            await asyncio.sleep(planned.seconds)
            await nats.start()
        return "nats", None

    async def _consumer_deleted(self, planned: Planned) -> tuple[str, None] | None:
        both = [(stream.name, each.name) for stream in (COMMANDS, TASKS) for each in stream.consumers]
        stream, consumer = _chosen(both, planned)
        async with self._busy["nats"]:
            try:
                await _insisting(lambda: self._stage.platform.bus.jetstream.delete_consumer(stream, consumer))
            except NotFoundError:
                return None  # deleted before, and not yet made again
        return consumer, None

    async def _store_full(self, planned: Planned) -> tuple[str, None]:
        """A work queue takes no byte more."""
        jetstream, queues = self._stage.platform.bus.jetstream, (COMMANDS.name, TASKS.name)
        name = planned.target if planned.target in queues else _chosen(queues, planned)
        async with self._busy["nats"]:
            info = await _insisting(lambda: jetstream.stream_info(name))
            room = info.config.max_bytes
            full = info.config.evolve(max_bytes=info.state.bytes + 1)
            await _insisting(lambda: jetstream.update_stream(full))
            await asyncio.sleep(planned.seconds)
            await _insisting(lambda: jetstream.update_stream(full.evolve(max_bytes=room)))
        return name, None

    async def _engine_cut(self, planned: Planned) -> tuple[str, None]:
        async with self._busy["engine"]:
            await self._stage.engine.cut()
            await asyncio.sleep(planned.seconds)
            await self._stage.engine.mend()
        return "engine", None

    async def _container_killed(self, planned: Planned) -> tuple[str, str] | None:
        return await self._by_hand(planned, self._stage.platform.hand.sdk.kill)

    async def _container_removed(self, planned: Planned) -> tuple[str, str] | None:
        remove = partial(self._stage.platform.hand.sdk.remove_container, force=True)
        return await self._by_hand(planned, remove)

    async def _by_hand(self, planned: Planned, hurt: Callable[[str], object]) -> tuple[str, str] | None:
        running = await self._stage.platform.hand.tools_running()
        if not running:
            return None
        tool, container = _chosen(running, planned)
        try:
            await asyncio.to_thread(hurt, container)
        except docker.errors.APIError:
            return None  # it ended, or is being removed, since we looked
        return "container", tool

    # Databases and disks.

    async def _database_locked(self, planned: Planned) -> tuple[str, None]:
        """In a file, by another process; a server answers nobody."""
        if (databases := self._stage.databases) is not None:
            async with self._busy["databases"]:
                databases.server.pause()
                await asyncio.sleep(planned.seconds)
                databases.server.resume()
            return "databases", None
        name, path = self._database(planned)
        async with self._busy[name], _held(path):
            await asyncio.sleep(planned.seconds)
        return name, None

    async def _database_lost(self, planned: Planned) -> tuple[str, None]:
        """What status keeps; a server is killed, and what the gateway keeps there is what it had stored."""
        if (databases := self._stage.databases) is not None:
            async with self._busy["databases"]:
                databases.server.kill()
                databases.server.start()
                databases.server.lose(databases.status)
            return "databases", None
        process = _chosen(self._stage.platform.replicas("status"), planned)
        path = self._stage.status_database(process.name)
        async with self._busy[process.name]:
            await process.kill()
            for file in path.parent.glob(f"{path.name}*"):
                file.unlink()
            await self._stage.bring_up(process)
        return process.name, None

    async def _disk_full(self, planned: Planned) -> tuple[str, None]:
        name = _chosen(sorted(self._stage.homes), planned)
        async with self._busy[f"disk of {name}"]:
            with filled(self._stage.homes[name]):
                await asyncio.sleep(planned.seconds)
        return name, None

    async def _nats_disk_full(self, planned: Planned) -> tuple[str, None]:
        """Of the newest server it is known that it stays full until it is started again."""
        nats = self._stage.platform.nats
        assert nats is not None
        async with self._busy["nats"]:
            with filled(nats.folder):
                await asyncio.sleep(planned.seconds)
            await nats.kill()
            await nats.start()
        return "nats", None

    def _database(self, planned: Planned) -> tuple[str, Path]:
        """Those of the status replicas, and the one that the gateways share."""
        stage = self._stage
        names = [process.name for process in stage.platform.replicas("status")]
        accounts = "gateway", stage.platform.data / "gateway" / "gateway.db"
        return _chosen([accounts, *((name, stage.status_database(name)) for name in names)], planned)


def _chosen(several: Sequence[Thing], planned: Planned) -> Thing:
    return several[int(planned.pick * len(several))]


async def _insisting(ask: Callable[[], Awaitable[Thing]]) -> Thing:
    """NATS may have come back a moment ago."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await ask()
            except NotFoundError:
                raise
            except NatsError as error:
                log.debug("not now", problem=repr(error))
            await asyncio.sleep(0.2)


@asynccontextmanager
async def _held(path: Path) -> AsyncGenerator[None]:
    """Another process holds the database's lock inside the block."""
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", HOLD, str(path), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        async with asyncio.timeout(15):
            assert await holder.stdout.readline() == b"held\n", f"{path} could not be locked"
        yield
    finally:
        holder.stdin.close()
        await holder.wait()


class Run:
    """The plan carried out: each fault once its time has come, and the rest as soon as all commands are done."""

    def __init__(self, faults: Faults, plan: Sequence[Planned], watcher: Watcher) -> None:
        self._faults = faults
        self._plan = plan
        self._watcher = watcher

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for planned in self._plan:
                await self._watcher.reached(planned.after)
                if self._watcher.enough:
                    return
                if planned.along:
                    group.create_task(self._do(planned))
                else:
                    await self._do(planned)

    async def _do(self, planned: Planned) -> None:
        await self._faults.do(planned)
        await self._watcher.fault_over()
