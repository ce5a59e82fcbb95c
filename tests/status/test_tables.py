"""The tables hold what the events say, whole batches of them, and can be lost at any time; on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url, text

from libs.contracts.envelope import Message
from libs.contracts.operations import OperationState
from libs.contracts.tools import ToolRecorded, ToolState
from libs.runtime.bus.stored import Kept
from services.status.adapters import schema
from services.status.adapters.databases import Database, File, Opened, Server, in_sqlite, prepared
from services.status.adapters.tables import DatabaseTables
from services.status.domain.ledger import Ledger
from services.status.ports import TablesAway, Wanted
from tests.status.histories import histories
from tests.status.kept import stored
from tests.status.stories import Operation, lost, tool, tool_named

EPOCH = "2026-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Memory:
    label: str = "memory"

    def open(self) -> Opened:
        return prepared(in_sqlite(make_url("sqlite://")))

    def cut(self) -> None:
        """Nothing takes long."""


@asynccontextmanager
async def reopened(database: Database) -> AsyncGenerator[DatabaseTables]:
    tables = DatabaseTables(database)
    try:
        yield tables
    finally:
        await tables.close()


def execute(database: Database, *statements: str) -> None:
    """As its owner, past the service."""
    opened = database.open()
    with opened.changing.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    opened.close()


def spoil(path: Path, damage: str) -> None:
    whole = path.read_bytes()
    assert len(whole) > 20_000
    hole = whole[:8192] + bytes(8192) + whole[16384:]
    path.write_bytes(b"no database " * 4096 if damage == "no database" else hole)


def story(name: str, *, word: str = "") -> list[Message]:
    install = Operation(name=name, word=word)
    return [install.accepted(), install.started()]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories, cuts=st.lists(st.integers(0, 60), max_size=8))
def test_however_the_events_are_cut_into_batches_the_tables_are_the_same(
    history: list[Message], cuts: list[int]
) -> None:
    ledger = Ledger()
    for sequence, message in enumerate(history, 1):
        ledger.enter(sequence, message)
    messages = stored(history)

    async def projected() -> None:
        tables = DatabaseTables(Memory())
        edges = sorted({0, len(messages), *(cut for cut in cuts if cut < len(messages))})
        for start, end in pairwise(edges):
            await tables.take_in(messages[start:end])
        rows = {row.entry.id: row for row in await tables.tools(("", ""), 100)}
        assert {id: row.entry for id, row in rows.items()} == {
            id: entry for id, entry in ledger.tools.items() if not entry.gone
        }
        assert all(row.engine == ledger.engines.get("local") for row in rows.values())
        for id, entry in ledger.operations.items():
            assert await tables.operation(id) == entry
        await tables.close()

    with asyncio.Runner() as runner:
        runner.run(projected())


async def test_the_position_is_that_of_the_last_batch(tables: DatabaseTables) -> None:
    await tables.empty(EPOCH, 7, ())
    assert await tables.stands_at(EPOCH) == 7
    await tables.take_in(stored(story("sample"), 8))
    assert await tables.stands_at(EPOCH) == 9


async def test_tables_of_another_stream_stand_nowhere(tables: DatabaseTables) -> None:
    assert await tables.stands_at(EPOCH) is None
    await tables.empty(EPOCH, 0, ())
    assert await tables.stands_at("2027-01-01T00:00:00+00:00") is None


async def test_filling_anew_leaves_nothing_of_before(tables: DatabaseTables) -> None:
    await tables.take_in(stored([*story("old"), lost()]))
    sample = tool("new", ToolState.STOPPED)
    recorded = ToolRecorded(tool=sample.id, fence=90, operation=Operation().id, state=sample)
    gone = ToolRecorded(tool=tool_named("gone"), fence=91, operation=Operation().id, state=None)
    await tables.empty(EPOCH, 50, [recorded, gone])
    [row] = await tables.tools(("", ""), 10)
    assert (row.entry.name, row.entry.judged.state, row.engine) == ("new", "stopped", None)
    assert await tables.operations(Wanted(), 10) == []


async def test_what_cannot_be_read_is_passed_over(tables: DatabaseTables) -> None:
    first, second = stored(story("sample"))
    broken = Kept(2, first.subject, b"{]")
    await tables.take_in([first, broken, Kept(3, second.subject, second.data)])
    assert (operation := await tables.operation(Operation().id)) is not None
    assert operation.fence == 3


async def test_tools_are_listed_by_name_page_by_page(tables: DatabaseTables) -> None:
    names = [f"tool{number}" for number in range(7)]
    for number, name in enumerate(reversed(names)):
        await tables.take_in(stored(story(name), number * 2 + 1))
    first = await tables.tools(("", ""), 4)
    second = await tables.tools((first[-1].entry.name, first[-1].entry.id), 4)
    assert [row.entry.name for row in (*first, *second)] == names
    assert all(len(row.under_way) == 1 for row in first)
    assert await tables.tool_names() == names


async def test_a_tool_is_found_by_name_and_by_id(tables: DatabaseTables) -> None:
    await tables.take_in(stored(story("sample")))
    by_name, by_id = await tables.tool("sample"), await tables.tool(tool_named("sample"))
    assert by_name is not None
    assert by_name == by_id
    assert await tables.tool("other") is None


async def test_a_name_means_the_tool_that_is_there_now(tables: DatabaseTables) -> None:
    install, uninstall = Operation(), Operation("uninstall")
    await tables.take_in(
        stored(
            [
                install.accepted(),
                install.started(),
                install.succeeded(2, tool()),
                uninstall.accepted(),
                uninstall.started(),
                uninstall.succeeded(5, None),
                *story("sample", word="again"),
            ]
        )
    )
    row = await tables.tool("sample")
    assert row is not None
    assert row.entry.id == tool_named("sample", "again")
    assert await tables.tool(tool_named("sample")) is None
    assert len(await tables.operations(Wanted(tool="sample"), 10)) == 3
    assert len(await tables.operations(Wanted(tool=tool_named("sample")), 10)) == 2


async def test_a_name_that_another_asks_for_still_means_the_one_that_has_it(tables: DatabaseTables) -> None:
    install = Operation()
    await tables.take_in(
        stored([install.accepted(5), install.started(), install.succeeded(2, tool()), *story("sample", word="late")])
    )
    row = await tables.tool("sample")
    assert row is not None
    assert row.entry.id == tool_named("sample")


async def test_operations_are_listed_newest_first_and_by_what_is_wanted(tables: DatabaseTables) -> None:
    kinds = [Operation("start", number=number) for number in range(5)]
    await tables.take_in(stored([kind.accepted() for kind in kinds]))
    await tables.take_in(stored([kinds[0].started()], 6))
    newest = await tables.operations(Wanted(), 2)
    assert [entry.id for entry in newest] == [kinds[4].id, kinds[3].id]
    older = await tables.operations(Wanted(before=newest[-1].accepted), 10)
    assert [entry.id for entry in older] == [kinds[2].id, kinds[1].id, kinds[0].id]
    running = await tables.operations(Wanted(state=OperationState.RUNNING), 10)
    assert [entry.id for entry in running] == [kinds[0].id]


async def test_what_was_taken_in_is_there_after_opening_again(database: Database) -> None:
    async with reopened(database) as tables:
        await tables.empty(EPOCH, 0, ())
        await tables.take_in(stored(story("sample")))
    async with reopened(database) as tables:
        assert await tables.stands_at(EPOCH) == 2
        assert await tables.tool("sample") is not None


async def test_names_sort_the_same_on_every_database(tables: DatabaseTables) -> None:
    names = ["a-b", "aa", "ab", "a-c", "a1", "a-1", "z9", "z10", "z-9"]
    for number, name in enumerate(names):
        await tables.take_in(stored(story(name), number * 2 + 1))
    found: list[str] = []
    after = ("", "")
    while page := await tables.tools(after, 2):
        found += [row.entry.name for row in page]
        after = (page[-1].entry.name, page[-1].entry.id)
    assert found == sorted(names)
    assert await tables.tool_names() == sorted(names)


@pytest.mark.parametrize("damage", ["no database", "one with a hole"])
async def test_a_damaged_file_is_begun_anew(file: File, damage: str) -> None:
    async with reopened(file) as tables:
        await tables.empty(EPOCH, 0, ())
        for number in range(50):
            await tables.take_in(stored(story(f"tool{number}"), number * 2 + 1))
    spoil(file.path, damage)
    async with reopened(file) as tables:
        assert await tables.stands_at(EPOCH) is None
        assert await tables.tools(("", ""), 10) == []


async def test_tables_of_an_earlier_version_are_dropped(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async with reopened(database) as tables:
        await tables.empty(EPOCH, 0, ())
        await tables.take_in(stored(story("sample")))
    execute(database, "CREATE TABLE of_old (id INTEGER)")
    for module in ("databases", "filling"):
        monkeypatch.setattr(f"services.status.adapters.{module}.VERSION", schema.VERSION + 1)
    async with reopened(database) as tables:
        assert await tables.stands_at(EPOCH) is None
        assert await tables.tools(("", ""), 10) == []
    execute(database, "CREATE TABLE of_old (id INTEGER)")


async def test_a_shared_database_keeps_tables_of_a_newer_version(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reopened(server) as tables:
        await tables.empty(EPOCH, 7, ())
    with monkeypatch.context() as earlier:
        for module in ("databases", "filling"):
            earlier.setattr(f"services.status.adapters.{module}.VERSION", schema.VERSION - 1)
        async with reopened(server) as tables:
            with pytest.raises(TablesAway, match=f"holds tables of version {schema.VERSION} .* run the newer release"):
                await tables.stands_at(EPOCH)
    async with reopened(server) as tables:
        assert await tables.stands_at(EPOCH) == 7


async def test_other_tables_of_a_shared_database_are_left_alone(server: Server) -> None:
    execute(server, "CREATE SCHEMA other", "CREATE TABLE other.place (id INTEGER)", "DROP TABLE place")
    async with reopened(server) as tables:
        assert await tables.stands_at(EPOCH) is None
    execute(server, "INSERT INTO other.place VALUES (1)")


async def test_a_file_that_cannot_be_opened_is_not_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "status.db"
    folder.mkdir()
    async with reopened(File(folder)) as tables:
        with pytest.raises(TablesAway, match="unable to open database file"):
            await tables.stands_at(EPOCH)
    assert folder.is_dir()


async def test_what_ended_before_the_oldest_event_that_is_kept_is_forgotten_and_nothing_else(
    tables: DatabaseTables,
) -> None:
    old, waits, new = Operation(), Operation("stop"), Operation("start")
    await tables.stands_at("")
    await tables.empty(EPOCH, 0, ())
    await tables.take_in(
        stored([old.accepted(), waits.accepted(), old.failed(0, "changed", tool()), new.accepted(), new.failed(0)])
    )
    assert await tables.forget(4, 1) == 1
    assert await tables.forget(4, 1) == 0
    assert [each.id for each in await tables.operations(Wanted(), 10)] == [new.id, waits.id]
    assert await tables.tool("sample") is not None
    assert await tables.stands_at(EPOCH) == 5
