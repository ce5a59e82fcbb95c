"""Tables in a file, and messages as the stream keeps them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import pytest

from services.status.adapters.tables import DatabaseTables, open_file


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "status" / "status.db"


@pytest.fixture
async def tables(database: Path) -> AsyncGenerator[DatabaseTables]:
    tables = await DatabaseTables.opened(partial(open_file, database))
    try:
        yield tables
    finally:
        await tables.close()
