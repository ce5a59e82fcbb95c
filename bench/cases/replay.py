"""How fast the status tables are made anew, and kept up to date, against inserting the same events as rows.

The events are in a stream of a real server, or told to it meanwhile by another process as fast as that can; both sides
write SQLite files, with the same durability, over one thread. What ours does more: it checks every event, folds it into
tools and operations, and keeps its place with each batch.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AsyncExitStack, aclosing, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg

from bench.children import running
from bench.figures import Aim, Row
from bench.histories import BY, PASSWORD, lives, operation, tell, tool
from bench.stage import Stage
from bench.turns import in_turn
from libs.contracts.permissions import Permissions, permissions
from libs.contracts.streams import EVENTS, STATES
from libs.runtime.bus.connecting import connect
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.projection import Account, Projection
from libs.runtime.bus.provision import provision
from libs.runtime.bus.reader import read_until_now
from libs.runtime.bus.refilling import BATCH, refill
from libs.runtime.embedded import EmbeddedNats
from libs.runtime.service import settle
from services.status.adapters.databases import File
from services.status.adapters.rebuilds import DatabaseRebuilds
from services.status.adapters.second_tables import second_tables
from services.status.adapters.tables import DatabaseTables
from services.status.adapters.transactions import Transactions
from services.status.domain.entries import RebuildEntry
from services.status.progress import Progress
from services.status.projector import Projector

TOOLS = 200
# Operations of each: many steps' worth for a replay, and as many as a run live is long enough with.
REPLAYED, LIVE = 50, 8
WITNESS = "witness"
COUNT = TOOLS * LIVE * len(operation(tool("one"), 0, 0))
PATIENCE = 120.0
Event = tuple[int, str, bytes]
Started = Callable[[], None]
AGAINST = "reading the same events and inserting each as it is, as a row of one table"
AGAINST_LIVE = "an ordered consumer of nats-py that inserts each event as it is, as many at once as have arrived"


async def measure(stage: Stage, runs: int) -> list[Row]:
    data = stage.data("replay")
    users = {**permissions(), WITNESS: Permissions(publish=(">",), subscribe=(">",))}
    async with EmbeddedNats(data, users) as nats:
        async with _connected(nats, "platform") as platform:
            await provision(platform, ack_wait=10.0)
        async with _connected(nats, WITNESS) as bus:
            count = await tell(bus, lives([tool(f"bench-{number}") for number in range(TOOLS)], REPLAYED))
            settle()  # as every service does once it runs
            ours, theirs = await in_turn(
                runs,
                lambda: _rebuilt(bus, stage.fresh("replayed") / "status.db", count),
                lambda: _inserted(bus, stage.fresh("inserted") / "events.db", count),
            )
    kept_up, received = await in_turn(runs, lambda: _live(stage, _projected), lambda: _live(stage, _received))
    return [
        Row("replay", "events/s", ours, theirs, Aim(0.7, "at least"), AGAINST, {"events": count}),
        Row("projection live", "events/s", kept_up, received, Aim(0.7, "at least"), AGAINST_LIVE, {"events": COUNT}),
    ]


async def _rebuilt(bus: Bus, file: Path, count: int) -> float:
    """Into empty tables."""
    database, transactions = File(file), Transactions(File(file))
    entry = RebuildEntry(id="rb-bench", requested_by=BY.label, begun_at=datetime.now(UTC))
    await DatabaseRebuilds(transactions).begin(entry, "bench")
    await transactions.close()
    async with second_tables(database, "bench") as second:
        begun = time.perf_counter()
        await refill(bus, EVENTS, STATES, second)
        return count / (time.perf_counter() - begun)


@contextmanager
def _inserting(file: Path) -> Generator[Callable[[Sequence[Event]], None]]:
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as connection:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE events (sequence INTEGER PRIMARY KEY, subject TEXT, body BLOB)")

        def insert(rows: Sequence[Event]) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO events VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")

        yield insert


async def _inserted(bus: Bus, file: Path, count: int) -> float:
    with _inserting(file) as insert:
        begun = time.perf_counter()
        batch: list[Event] = []
        async with aclosing(read_until_now(bus, EVENTS, EVENTS.subjects, batch=BATCH)) as stored:
            async for kept in stored:
                batch.append((kept.sequence, kept.subject, kept.data))
                if len(batch) == BATCH:
                    await asyncio.to_thread(insert, batch)
                    batch = []
        await asyncio.to_thread(insert, batch)
        return count / (time.perf_counter() - begun)


async def _live(stage: Stage, take_in: Callable[[EmbeddedNats, Bus, Path, Started], Awaitable[float]]) -> float:
    """Events a second, from the first that arrived to the last that is stored."""
    data = stage.fresh("told")
    users = {**permissions(), WITNESS: Permissions(publish=(">",), subscribe=(">",))}
    async with AsyncExitStack() as stack:
        nats = await stack.enter_async_context(EmbeddedNats(data, users))
        async with _connected(nats, "platform") as platform:
            await provision(platform, ack_wait=10.0)
        bus = await stack.enter_async_context(_connected(nats, WITNESS))
        words = ("-m", "bench.histories", nats.url, WITNESS, str(TOOLS), str(LIVE))
        env = {**os.environ, PASSWORD: nats.credentials[WITNESS]}

        def start() -> None:
            stack.enter_context(running([sys.executable, *words], env, data / "told.log"))

        return COUNT / await take_in(nats, bus, data, start)


async def _projected(nats: EmbeddedNats, bus: Bus, data: Path, start: Started) -> float:
    progress, tables = Progress(), DatabaseTables(File(data / "status.db"))
    account = Account(nats.url, WITNESS, nats.credentials[WITNESS], WITNESS)
    projection = Projection(bus, account, EVENTS, STATES, Projector(tables, progress, "bench"))
    working = asyncio.create_task(projection.run())
    try:
        async with asyncio.timeout(PATIENCE):
            while projection.problem is not None:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        start()
        assert await progress.reached(1, PATIENCE)
        begun = time.perf_counter()
        assert await progress.reached(COUNT, PATIENCE)
        return time.perf_counter() - begun
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await tables.close()


async def _received(nats: EmbeddedNats, bus: Bus, data: Path, start: Started) -> float:
    arrived: asyncio.Queue[Event] = asyncio.Queue()

    async def take(message: Msg) -> None:
        arrived.put_nowait((message.metadata.sequence.stream, message.subject, message.data))

    await bus.jetstream.subscribe(">", stream=EVENTS.name, ordered_consumer=True, cb=take)
    with _inserting(data / "events.db") as insert:
        start()
        first = await arrived.get()
        begun, batch, stored = time.perf_counter(), [first], 0
        while stored < COUNT:
            batch = batch or [await arrived.get()]
            while not arrived.empty() and len(batch) < BATCH:
                batch.append(arrived.get_nowait())
            await asyncio.to_thread(insert, batch)
            stored, batch = stored + len(batch), []
        return time.perf_counter() - begun


def _connected(nats: EmbeddedNats, user: str) -> Any:
    return connect(nats.url, user=user, password=nats.credentials[user], service=user, source=f"{user}/bench")
