"""Agents' accounts, kept in either database, and the database itself: migrated once, by whoever comes first."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text

from libs.runtime.variables import SettingsError
from services.gateway import migrations
from services.gateway.adapters import database
from services.gateway.adapters.agent_table import AgentAccounts
from services.gateway.adapters.database import Database, file_address
from services.gateway.adapters.schema import Table
from services.gateway.ports import AgentExists, DatabaseAway
from services.gateway.settings import Settings
from tests.support.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return file_address(tmp_path / "gateway" / "gateway.db")
    return request.getfixturevalue("postgres_url")


@pytest.fixture
async def opened(address: str) -> AsyncGenerator[Database]:
    there = await Database.opened(address)
    yield there
    await there.close()


@pytest.fixture
def accounts(opened: Database) -> AgentAccounts:
    return AgentAccounts(opened)


async def test_an_agent_that_was_added_is_found_by_its_name(accounts: AgentAccounts):
    added = await accounts.add("robot", "operator", "UKEY1")
    assert await accounts.find("robot") == added
    assert await accounts.find("other") is None
    assert (added.name, added.role, added.key) == ("robot", "operator", "UKEY1")
    assert added.created_at.utcoffset() is not None


async def test_agents_are_listed_by_name_whatever_order_the_database_sorts_in(accounts: AgentAccounts):
    for number, name in enumerate(("b-1", "ba", "a", "b")):
        await accounts.add(name, "viewer", f"UKEY{number}")
    assert [agent.name for agent in await accounts.all()] == ["a", "b", "b-1", "ba"]


async def test_two_agents_never_have_one_name(accounts: AgentAccounts):
    first = await accounts.add("robot", "viewer", "UKEY1")
    with pytest.raises(AgentExists):
        await accounts.add("robot", "admin", "UKEY2")
    assert await accounts.all() == [first]


async def test_of_two_who_take_a_name_at_once_one_gets_it(accounts: AgentAccounts):
    tries = [accounts.add("robot", "viewer", f"UKEY{number}") for number in range(8)]
    ends = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(end, AgentExists) for end in ends) == 7
    assert len(await accounts.all()) == 1


async def test_an_agent_that_was_removed_is_none_and_its_name_is_free(accounts: AgentAccounts):
    first = await accounts.add("robot", "viewer", "UKEY1")
    assert await accounts.remove("robot") == first
    assert await accounts.find("robot") is None
    assert await accounts.all() == []
    assert await accounts.remove("robot") is None
    again = await accounts.add("robot", "admin", "UKEY2")
    assert await accounts.find("robot") == again


async def test_what_was_stored_is_there_after_a_new_start(address: str):
    before = await Database.opened(address)
    added = await AgentAccounts(before).add("robot", "viewer", "UKEY1")
    await before.close()
    after = await Database.opened(address)
    assert await AgentAccounts(after).all() == [added]
    await after.close()


async def test_of_gateways_that_start_at_once_one_migrates_and_all_go_on(address: str):
    opened = await asyncio.gather(*(Database.opened(address) for _ in range(4)))
    accounts = [AgentAccounts(each) for each in opened]
    await accounts[0].add("robot", "viewer", "UKEY1")
    assert [len(await each.all()) for each in accounts] == [1] * 4
    for each in opened:
        await each.close()


async def test_a_database_that_is_up_to_date_is_not_migrated_again(address: str, monkeypatch: pytest.MonkeyPatch):
    first = await Database.opened(address)
    await first.close()
    monkeypatch.setattr(database, "_migrate", lambda _: pytest.fail("it was migrated"))
    await (await Database.opened(address)).close()


async def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(address: str, opened: Database):
    await opened.run(lambda connection: connection.execute(text("UPDATE gateway_revision SET version_num = '9999'")))
    with pytest.raises(DatabaseAway, match="of another version"):
        await Database.opened(address)
    kept = await opened.run(lambda connection: connection.execute(text("SELECT * FROM gateway_revision")).scalar())
    assert kept == "9999"


def structure(connection: Connection) -> dict[str, object]:
    """Tables, columns, keys and indexes, as the database tells of them."""
    there = inspect(connection)
    return {
        table: (
            [(column["name"], str(column["type"]), column["nullable"]) for column in there.get_columns(table)],
            there.get_pk_constraint(table)["constrained_columns"],
            sorted((str(index["name"]), tuple(index["column_names"])) for index in there.get_indexes(table)),
            sorted(tuple(unique["column_names"]) for unique in there.get_unique_constraints(table)),
        )
        for table in there.get_table_names()
    }


async def test_a_database_that_went_every_step_is_the_same_as_a_new_one(address: str):
    new = await Database.opened(address)
    at_once = await new.run(structure)

    def emptied(connection: Connection) -> None:
        Table.metadata.drop_all(connection)
        connection.execute(text("DELETE FROM gateway_revision"))

    await new.run(emptied)
    await new.close()
    stepwise = await Database.opened(address)
    assert await stepwise.run(structure) == at_once
    assert set(at_once) == {"agents", "gateway_revision"}
    # The rule that two agents never have one name is part of an index, which no inspection shows whole.
    await AgentAccounts(stepwise).add("robot", "viewer", "UKEY1")
    with pytest.raises(AgentExists):
        await AgentAccounts(stepwise).add("robot", "viewer", "UKEY2")
    await AgentAccounts(stepwise).remove("robot")
    await AgentAccounts(stepwise).add("robot", "viewer", "UKEY3")
    await stepwise.close()


async def test_the_tables_are_what_the_program_takes_them_for(opened: Database):
    from alembic.autogenerate import compare_metadata

    options = {"version_table": "gateway_revision"}
    differences = await opened.run(
        lambda connection: compare_metadata(MigrationContext.configure(connection, opts=options), Table.metadata)
    )
    assert differences == []


def test_the_newest_step_is_the_one_the_program_looks_for():
    steps = Config()
    steps.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(steps).get_heads() == [migrations.HEAD]


async def test_the_file_is_its_owners_alone(tmp_path: Path):
    path = tmp_path / "gateway" / "gateway.db"
    opened = await Database.opened(file_address(path))
    await AgentAccounts(opened).add("robot", "viewer", "UKEY1")
    modes = {stat.S_IMODE(each.stat().st_mode) & 0o077 for each in path.parent.iterdir()}
    await opened.close()
    assert modes == {0}


async def test_on_postgresql_the_tables_stand_apart_from_others_in_the_same_database(postgres_url: str):
    opened = await Database.opened(postgres_url)
    await opened.close()
    engine = create_engine(postgres_url)
    assert inspect(engine).get_table_names("public") == []
    assert set(inspect(engine).get_table_names("gateway")) == {"agents", "gateway_revision"}
    engine.dispose()


async def test_a_database_that_is_away_is_said_in_a_sentence_without_the_password(
    postgres: PostgresServer, postgres_url: str
):
    wrong = postgres_url.replace(":" + str(postgres.port), ":1")
    with pytest.raises(DatabaseAway) as refused:
        await Database.opened(wrong)
    password = wrong.split("//")[1].split("@")[0].split(":")[1]
    assert password not in str(refused.value)
    assert "does not answer" in str(refused.value)
    assert refused.value.__cause__ is None


async def test_a_database_that_went_away_is_used_again_when_it_is_back(postgres: PostgresServer, postgres_url: str):
    opened = await Database.opened(postgres_url)
    accounts = AgentAccounts(opened)
    await accounts.add("robot", "viewer", "UKEY1")
    postgres.terminate()
    try:
        with pytest.raises(DatabaseAway):
            await accounts.all()
    finally:
        postgres.start()
    assert [agent.name for agent in await accounts.all()] == ["robot"]
    await opened.close()


def test_an_address_that_is_no_database_is_refused_without_being_repeated(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MACHETE_GATEWAY_DATABASE", "mysql://machete:hunter22@db/x")
    with pytest.raises(SettingsError, match=r"MACHETE_GATEWAY_DATABASE.*postgresql\+psycopg") as refused:
        Settings.load()
    assert "hunter22" not in str(refused.value)


def test_the_address_is_a_secret_wherever_settings_are_shown():
    settings = Settings.model_validate({"gateway_database": "postgresql+psycopg://machete:hunter22@db/x"})
    assert "hunter22" not in repr(settings) + str(settings.model_dump())
