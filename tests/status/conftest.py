"""Tables in each kind of database."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from services.status.adapters.databases import Database, File, Server
from services.status.adapters.tables import DatabaseTables


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "status" / "status.db")


@pytest.fixture
def server(postgres_url: str) -> Server:
    return Server(make_url(postgres_url))


@pytest.fixture(params=["file", "server"])
def database(request: pytest.FixtureRequest) -> Database:
    return request.getfixturevalue(request.param)


@pytest.fixture
async def tables(database: Database) -> AsyncGenerator[DatabaseTables]:
    tables = DatabaseTables(database)
    try:
        yield tables
    finally:
        await tables.close()
