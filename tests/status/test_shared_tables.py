"""Several processes fill the same tables: together they come to what one would, and none takes another back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager

import psycopg
import pytest
from sqlalchemy import text

from libs.contracts.envelope import Message
from libs.contracts.operations import Kind
from libs.contracts.tools import ToolState
from libs.runtime.bus.stored import Kept
from services.status.adapters.databases import Database, File, Server
from services.status.adapters.tables import DatabaseTables
from services.status.domain.ledger import Ledger
from services.status.ports import TablesAway, Wanted
from tests.status.kept import stored
from tests.status.stories import Operation, tool, tool_named
from tests.support.stage import WITHIN

EPOCH = "2026-01-01T00:00:00+00:00"
LATER_EPOCH = "2027-01-01T00:00:00+00:00"


@asynccontextmanager
async def sharing(database: Database, number: int = 2) -> AsyncGenerator[list[DatabaseTables]]:
    """As many processes would: each with a connection and a memory of its own."""
    async with AsyncExitStack() as stack:
        shared = [DatabaseTables(database) for _ in range(number)]
        for tables in shared:
            stack.push_async_callback(tables.close)
        yield shared


@contextmanager
def held(database: Database) -> Iterator[None]:
    """Somebody has locked the tables for writing, and does not let go."""
    opened = database.open()
    lock = "SELECT 1" if isinstance(database, File) else "SELECT * FROM place FOR UPDATE"
    with opened.changing.begin() as connection:
        connection.execute(text(lock))
        yield
    opened.close()


LIFE: tuple[tuple[Kind, ToolState], ...] = (
    ("install", ToolState.RUNNING),
    ("stop", ToolState.STOPPED),
    ("start", ToolState.RUNNING),
)


def history(tools: int) -> list[Message]:
    """Each is installed, stopped and started, from sequence 1 on."""
    told: list[Message] = []
    for number in range(tools):
        name = f"tool{number:02}"
        for kind, state in LIFE:
            operation, fence = Operation(kind, name), len(told) + 2
            told += [operation.accepted(fence), operation.started(1, fence)]
            told.append(operation.succeeded(fence, tool(name, state), fence))
    return told


async def assert_holds(tables: DatabaseTables, messages: list[Message]) -> None:
    """What one ledger would, entry by entry."""
    ledger = Ledger()
    for sequence, message in enumerate(messages, 1):
        ledger.enter(sequence, message)
    rows = await tables.tools(("", ""), 500)
    assert {row.entry.id: row.entry for row in rows} == {
        id: entry for id, entry in ledger.tools.items() if not entry.gone
    }
    entries = await tables.operations(Wanted(), 500)
    assert {entry.id: entry for entry in entries} == ledger.operations
    assert await tables.stands_at(EPOCH) == len(messages)


async def fill(tables: DatabaseTables, messages: list[Kept], batch: int) -> None:
    for start in range(0, len(messages), batch):
        await tables.take_in(messages[start : start + batch])


async def test_processes_that_fill_them_at_once_come_to_what_one_would(database: Database) -> None:
    messages = history(20)
    async with sharing(database, 3) as shared:
        for tables in shared:
            assert await tables.stands_at(EPOCH) is None
        await asyncio.gather(*(tables.empty(EPOCH, 0, ()) for tables in shared))
        await asyncio.gather(
            *(fill(tables, stored(messages), batch) for tables, batch in zip(shared, (1, 7, 32), strict=True))
        )
        for tables in shared:
            await assert_holds(tables, messages)


async def test_a_process_that_woke_up_late_takes_nothing_back(database: Database) -> None:
    messages = history(10)
    async with sharing(database) as (quick, slow):
        await quick.empty(EPOCH, 0, ())
        assert await slow.stands_at(EPOCH) == 0
        await slow.take_in(stored(messages[:5]))
        await quick.take_in(stored(messages))
        about = await slow.take_in(stored(messages[5:9], 6))
        assert about.operations == {message.operation for message in messages[5:9]}  # type: ignore[attr-defined]
        await assert_holds(quick, messages)
        await slow.take_in(stored(messages[9:], 10))
        await assert_holds(slow, messages)


async def test_tables_are_emptied_once_by_all_who_find_that_they_must_be(database: Database) -> None:
    messages = history(3)
    async with sharing(database) as (quick, slow):
        for tables in (quick, slow):
            assert await tables.stands_at(EPOCH) is None
        await quick.empty(EPOCH, 0, ())
        await quick.take_in(stored(messages))
        await slow.empty(EPOCH, 0, ())
        await assert_holds(quick, messages)
        await fill(slow, stored(messages), 4)
        await assert_holds(slow, messages)


async def test_events_of_a_stream_that_is_gone_are_refused(database: Database) -> None:
    messages = history(3)
    async with sharing(database) as (quick, slow):
        await quick.empty(EPOCH, 0, ())
        assert await slow.stands_at(EPOCH) == 0
        assert await quick.stands_at(LATER_EPOCH) is None
        await quick.empty(LATER_EPOCH, 0, ())
        with pytest.raises(TablesAway, match="being filled anew"):
            await slow.take_in(stored(messages))
        assert await slow.stands_at(LATER_EPOCH) == 0
        assert await quick.tools(("", ""), 10) == []


async def test_tables_that_another_fills_anew_are_not_shown_before_they_hold_what_they_held(
    database: Database,
) -> None:
    messages = history(4)
    async with sharing(database) as (reader, other):
        await reader.empty(EPOCH, 0, ())
        await reader.take_in(stored(messages))
        await other.empty(EPOCH, 0, ())
        for end in range(4, len(messages), 4):
            await other.take_in(stored(messages[:end]))
            with pytest.raises(TablesAway, match="being filled anew; ask again"):
                await reader.tools(("", ""), 10)
            with pytest.raises(TablesAway):
                await reader.tool(tool_named("tool00"))
        await other.take_in(stored(messages))
        await assert_holds(reader, messages)


async def test_what_others_miss_is_not_taken_in(database: Database) -> None:
    """Set back behind what this process has already given, they would have a hole."""
    messages = history(4)
    async with sharing(database) as (tables, other):
        await tables.empty(EPOCH, 0, ())
        await tables.take_in(stored(messages[:6]))
        await other.empty(EPOCH, 0, ())
        with pytest.raises(TablesAway):
            await tables.take_in(stored(messages[6:], 7))
        assert await tables.stands_at(EPOCH) == 0
        await tables.take_in(stored(messages))
        await assert_holds(tables, messages)


async def test_many_that_come_at_once_make_the_tables_once(database: Database) -> None:
    async with sharing(database, 6) as shared:
        assert await asyncio.gather(*(tables.stands_at(EPOCH) for tables in shared)) == [None] * 6
        await shared[0].empty(EPOCH, 3, ())
        assert await asyncio.gather(*(tables.stands_at(EPOCH) for tables in shared)) == [3] * 6


async def test_while_another_holds_the_lock_questions_are_answered_and_events_wait(database: Database) -> None:
    messages = history(2)
    async with sharing(database, 1) as [tables]:
        await tables.empty(EPOCH, 0, ())
        await tables.take_in(stored(messages[:3]))
        with held(database):
            taking = asyncio.create_task(tables.take_in(stored(messages[3:], 4)))
            for _ in range(5):
                row = await tables.tool("tool00")
                assert row is not None
                assert row.entry.recorded == 3
                await asyncio.sleep(0.05)
            assert not taking.done()
        async with asyncio.timeout(WITHIN):
            await taking
        await assert_holds(tables, messages)


async def test_a_lock_that_is_never_let_go_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.status.adapters.transactions.CHANGE_PATIENCE", 1.0)
    async with sharing(database, 1) as [tables]:
        await tables.empty(EPOCH, 0, ())
        with held(database), pytest.raises(TablesAway, match="lock"):
            await tables.take_in(stored(history(1)))
        await tables.take_in(stored(history(1)))


async def test_tables_dropped_beneath_a_process_are_made_again(server: Server) -> None:
    messages = history(2)
    async with sharing(server, 1) as [tables]:
        await tables.empty(EPOCH, 0, ())
        await tables.take_in(stored(messages[:3]))
        url = server.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute("DROP SCHEMA machete_status CASCADE")
        with pytest.raises(TablesAway):
            await tables.take_in(stored(messages[3:], 4))
        assert await tables.stands_at(EPOCH) is None
        await tables.empty(EPOCH, 0, ())
        await tables.take_in(stored(messages))
        await assert_holds(tables, messages)
