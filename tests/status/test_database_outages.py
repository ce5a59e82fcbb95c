"""The database may be away, gone, slow or locked at any time: it is said, and nothing is lost."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from libs.contracts.queries import ListTools, ShowTool
from libs.contracts.views import ToolView
from libs.runtime.health import CheckReport
from libs.runtime.settings import SettingsError
from services.status.adapters.databases import Server
from services.status.adapters.tables import DatabaseTables
from services.status.ports import TablesAway
from services.status.settings import Settings
from tests.status.kept import stored
from tests.status.service import Running, status_service
from tests.status.stories import Operation, tool
from tests.support.postgres import PostgresServer, running_postgres
from tests.support.processes import until
from tests.support.stage import Stage, eventually, staged

EPOCH = "2026-01-01T00:00:00+00:00"


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresServer]:
    """A server that these tests may kill and pause."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="module")
async def stage() -> AsyncGenerator[Stage]:
    async with staged() as stage:
        yield stage


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[DatabaseTables]:
    tables = DatabaseTables(Server(make_url(url)))
    try:
        await tables.empty(EPOCH, 0, ())
        yield tables
    finally:
        await tables.close()


async def install(status: Running, name: str) -> int:
    """The position of its last event."""
    operation = Operation(name=name)
    await status.say(operation.accepted())
    fence = await status.say(operation.started())
    return await status.say(operation.succeeded(fence, tool(name)))


async def check(status: Running, name: str) -> CheckReport:
    report = (await status.http.stranger.get("/api/health")).json()
    return CheckReport.model_validate(report["services"]["status"]["checks"][name])


async def until_told(status: Running, name: str, *, ok: bool, because: str = "") -> None:
    async def told() -> bool:
        report = await check(status, name)
        return report.ok is ok and because in report.detail

    await eventually(told, f"the health says that {name} is {'well' if ok else 'not well'}")


async def test_tables_go_on_after_their_server_was_killed(own: PostgresServer) -> None:
    install = Operation()
    async with opened(own.database()) as tables:
        await tables.take_in(stored([install.accepted()]))
        own.kill()
        with pytest.raises(TablesAway, match=rf"PostgreSQL, 127.0.0.1:{own.port}/test_\w+\) cannot be used now"):
            await tables.operation(install.id)
        own.start()
        found = await tables.operation(install.id)
        assert found is not None
        assert found.state == "accepted"
        await tables.take_in(stored([install.started()], 2))
        assert await tables.stands_at(EPOCH) == 2


async def test_a_server_that_was_started_anew_in_between_is_not_noticed(own: PostgresServer) -> None:
    install = Operation()
    async with opened(own.database()) as tables:
        await tables.take_in(stored([install.accepted()]))
        own.kill()
        own.start()
        assert await tables.operation(install.id) is not None
        own.terminate()
        own.start()
        await tables.take_in(stored([install.started()], 2))


async def test_a_server_that_does_not_answer_is_given_up_and_taken_up_again(
    own: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = Operation()
    async with opened(own.database()) as tables:
        await tables.take_in(stored([install.accepted()]))
        own.pause()
        with monkeypatch.context() as hasty:
            hasty.setattr("services.status.adapters.tables.READ_PATIENCE", 0.2)
            for _ in range(3):
                with pytest.raises(TablesAway, match=r"gave no answer within 0\.2 s"):
                    await tables.operation(install.id)
        own.resume()
        assert await tables.operation(install.id) is not None


async def test_stopping_does_not_wait_for_a_server_that_does_not_answer(own: PostgresServer) -> None:
    def at_work() -> bool:
        return any(thread.name.startswith("status-tables") for thread in threading.enumerate())

    tables = DatabaseTables(Server(make_url(own.database())))
    await tables.empty(EPOCH, 0, ())
    own.pause()
    try:
        with pytest.raises(TablesAway):
            await tables.probe()
        async with asyncio.timeout(3):
            await tables.close()
        await until(lambda: not at_work(), within=3)
    finally:
        own.resume()


async def test_a_slow_statement_is_ended_by_the_server(own: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.status.adapters.databases.STATEMENT_LIMIT", 1)
    url = own.database()
    async with opened(url) as tables:
        with own.admin(url.rpartition("/")[2]) as admin, admin.transaction():
            admin.execute("LOCK TABLE machete_status.tools IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(TablesAway, match="cannot be used now: canceling statement"):
                await tables.tools(("", ""), 10)
        assert await tables.tools(("", ""), 10) == []


async def test_no_more_than_one_connection_is_used(own: PostgresServer) -> None:
    url = own.database()
    async with opened(url) as tables:
        await asyncio.gather(*(tables.tools(("", ""), 10) for _ in range(20)))
        with own.admin() as admin:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
            assert admin.execute(query, [make_url(url).database]).fetchone() == (1,)


async def test_a_service_without_its_database_starts_says_so_and_goes_on_when_it_is_there(
    own: PostgresServer, stage: Stage, tmp_path: Path
) -> None:
    url = own.database()
    own.kill()
    async with status_service(stage, tmp_path, status_database=url) as status:
        position = await install(status, "early")
        told = await check(status, "database")
        assert not told.ok
        assert "cannot be used now" in told.detail
        assert own.password not in told.detail + (await check(status, "projection")).detail
        own.start()
        view: ToolView = await status.ask(ShowTool(tool="early", position=position))
        assert view.state == "running"
        await until_told(status, "database", ok=True)
        await until_told(status, "projection", ok=True)


async def test_what_happens_while_the_database_is_away_is_shown_when_it_is_back(
    own: PostgresServer, stage: Stage, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with status_service(stage, tmp_path, status_database=own.database()) as status:
        position = await install(status, "before")
        await status.ask(ShowTool(tool="before", position=position))
        own.kill()
        position = await install(status, "meanwhile")
        code, word, sentence = await status.refused(ListTools())
        assert (code, word) == (503, "database_away")
        assert sentence.startswith("Ask again soon: the status database (PostgreSQL, ")
        answer = await status.http.client.get("/api/v1/tools/before/logs")
        assert (answer.status_code, answer.json()["code"]) == (503, "database_away")
        await until_told(status, "projection", ok=False, because="cannot be used now")
        own.start()
        for name in ("before", "meanwhile"):
            view: ToolView = await status.ask(ShowTool(tool=name, position=position))
            assert view.state == "running"
    said = capfd.readouterr()
    assert "cannot be used now" in said.err
    assert own.password not in said.err + said.out


async def test_a_wrong_password_is_told_without_the_right_one(
    own: PostgresServer, stage: Stage, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = own.database().replace(own.password, "not-the-password")
    async with status_service(stage, tmp_path, status_database=url) as status:
        await until_told(status, "projection", ok=False)
        detail = (await check(status, "database")).detail
    assert "password authentication failed" in detail
    said = capfd.readouterr()
    assert "not-the-password" not in detail + said.err + said.out


async def test_a_file_that_somebody_has_locked_costs_no_event(stage: Stage, tmp_path: Path) -> None:
    async with status_service(stage, tmp_path) as status:
        position = await install(status, "first")
        await status.ask(ShowTool(tool="first", position=position))
        with closing(sqlite3.connect(tmp_path / "status" / "status.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            position = await install(status, "locked")
            view: ToolView = await status.ask(ShowTool(tool="first"))
            assert view.state == "running"
            other.execute("ROLLBACK")
        view = await status.ask(ShowTool(tool="locked", position=position))
        assert view.state == "running"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hidden-word@host/db",
        "mysql://user:hidden-word@host/db",
        "postgresql+psycopg://user:hidden-word@/db",
        "postgresql+psycopg://user:hidden-word@host",
        "postgresql+psycopg://user:hidden-word@host:port/db",
        "hidden-word",
    ],
)
def test_an_address_that_is_none_is_refused_without_being_shown(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MACHETE_STATUS_DATABASE", url)
    with pytest.raises(SettingsError, match=r"MACHETE_STATUS_DATABASE: .*must be postgresql\+psycopg://") as refused:
        Settings.load(data=tmp_path)
    assert "hidden-word" not in str(refused.value)
