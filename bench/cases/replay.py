"""How fast the status tables are made anew, against reading the same events and inserting each as a row.

The events are in a stream of a real server; both sides write SQLite files, with the same durability, over one thread.
What ours does more: it checks every event, folds it into tools and operations, and keeps its place with each batch.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from contextlib import aclosing, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.figures import Aim, Row
from bench.histories import BY, lives, tell, tool
from bench.stage import Stage
from bench.turns import in_turn
from libs.contracts.permissions import Permissions, permissions
from libs.contracts.streams import EVENTS, STATES
from libs.runtime.bus.connection import Bus, connect
from libs.runtime.bus.provision import provision
from libs.runtime.bus.reader import read_until_now
from libs.runtime.bus.refilling import BATCH, refill
from libs.runtime.embedded import EmbeddedNats
from libs.runtime.service import settle
from services.status.adapters.databases import File
from services.status.adapters.rebuilds import DatabaseRebuilds
from services.status.adapters.second_tables import second_tables
from services.status.adapters.transactions import Transactions
from services.status.domain.entries import RebuildEntry

TOOLS, EACH = 200, 8
WITNESS = "witness"
AGAINST = "reading the same events and inserting each as it is, as a row of one table"


async def measure(stage: Stage, runs: int) -> list[Row]:
    data = stage.data("replay")
    users = {**permissions(), WITNESS: Permissions(publish=(">",), subscribe=(">",))}
    async with EmbeddedNats(data, users) as nats:
        async with _connected(nats, "platform") as platform:
            await provision(platform, ack_wait=10.0)
        async with _connected(nats, WITNESS) as bus:
            count = await tell(bus, lives([tool(f"bench-{number}") for number in range(TOOLS)], EACH))
            settle()  # as every service does once it runs
            ours, theirs = await in_turn(
                runs,
                lambda: _rebuilt(bus, stage.fresh("replayed") / "status.db", count),
                lambda: _inserted(bus, stage.fresh("inserted") / "events.db", count),
            )
    return [Row("replay", "events/s", ours, theirs, Aim(0.7, "at least"), AGAINST, {"events": count})]


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


async def _inserted(bus: Bus, file: Path, count: int) -> float:
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as connection:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE events (sequence INTEGER PRIMARY KEY, subject TEXT, body BLOB)")

        def insert(rows: Sequence[tuple[int, str, bytes]]) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO events VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")

        begun = time.perf_counter()
        batch: list[tuple[int, str, bytes]] = []
        async with aclosing(read_until_now(bus, EVENTS, EVENTS.subjects, batch=BATCH)) as stored:
            async for kept in stored:
                batch.append((kept.sequence, kept.subject, kept.data))
                if len(batch) == BATCH:
                    await asyncio.to_thread(insert, batch)
                    batch = []
        await asyncio.to_thread(insert, batch)
        return count / (time.perf_counter() - begun)


def _connected(nats: EmbeddedNats, user: str) -> Any:
    return connect(nats.url, user=user, password=nats.credentials[user], service=user, source=f"{user}/bench")
