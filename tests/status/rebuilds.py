"""Asking for a rebuild, and looking at what stands in the tables, past the service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from sqlalchemy import make_url, select, text

from libs.contracts.envelope import Message
from libs.contracts.principals import Principal
from libs.contracts.queries import RebuildTables, ShowRebuild
from libs.contracts.streams import EVENTS
from libs.contracts.views import RebuildView
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unanswerable, Unavailable
from services.status.adapters.databases import Database, File, Server
from services.status.adapters.rows import SECOND, SHOWN, Tables
from services.status.settings import Settings
from tests.support.stage import Stage

ADMIN = Principal(kind="user", name="admin", role="admin")
AT_ONCE = 128
Dump = dict[str, list[tuple[Any, ...]]]


def database_of(settings: Settings) -> Database:
    url = settings.database_url
    return File(settings.database) if url is None else Server(make_url(url))


def dumped(database: Database, tables: Tables = SHOWN) -> Dump:
    """Every row of every table, by key."""
    opened = database.open()
    with opened.reading.connect() as connection:
        rows = {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in tables.filled
        }
    opened.close()
    return rows


def execute(database: Database, *statements: str) -> None:
    opened = database.open()
    with opened.changing.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    opened.close()


def nothing_is_kept_twice(database: Database) -> bool:
    return not any(dumped(database, SECOND).values())


async def begun(gateway: Bus) -> RebuildView:
    return await gateway.ask(RebuildTables(requested_by=ADMIN), RebuildView, patience=10.0)


async def looked_at(gateway: Bus, rebuild: RebuildView) -> RebuildView | None:
    """None while nobody answers."""
    try:
        return await gateway.ask(ShowRebuild(rebuild=rebuild.id), RebuildView, patience=2.0)
    except (Unavailable, Unanswerable):
        return None


async def ended(gateway: Bus, rebuild: RebuildView, within: float = 60.0) -> RebuildView:
    async with asyncio.timeout(within):
        while True:
            seen = await looked_at(gateway, rebuild)
            if seen is not None and seen.state != "running":
                return seen
            await asyncio.sleep(0.02)


async def rebuilt(gateway: Bus) -> RebuildView:
    """One that must succeed, at its end."""
    seen = await ended(gateway, await begun(gateway))
    assert seen.state == "succeeded", seen.reason
    return seen


async def tell(stage: Stage, messages: Sequence[Message]) -> int:
    """Many, quickly, in their order; the sequence of the last."""
    last = 0
    for start in range(0, len(messages), AT_ONCE):
        some = [stage.witness.publish(EVENTS, message) for message in messages[start : start + AT_ONCE]]
        sequences = [stored.sequence for stored in await asyncio.gather(*some)]
        assert sequences == sorted(sequences)
        last = sequences[-1]
    return last
