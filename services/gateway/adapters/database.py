"""The gateway's own database: a file of SQLite, or PostgreSQL. Its tables are never dropped, only migrated.

One thread does all of it, so that the event loop waits for no disk and no network. A database that does not answer is
`DatabaseAway`, in one sentence, and never with the password in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, inspect, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from libs.runtime import sqlite
from libs.runtime.masking import inert, masked
from services.gateway.adapters.schema import REVISIONS, Table
from services.gateway.migrations import HEAD
from services.gateway.ports import DatabaseAway

# Seconds. Whoever waits for an answer is told by then that there is none.
PATIENCE = 5.0
# Seconds: a migration may wait for another gateway that does the same.
MIGRATION_LIMIT = 120
# Of this database alone: two gateways that start at once migrate one after the other.
LOCK = 0x4D414348
SCHEMA = "gateway"

Result = TypeVar("Result")


class Database:
    """Made by `opened`; `close` ends its thread."""

    def __init__(self, engine: Engine, thread: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._thread = thread

    @classmethod
    async def opened(cls, address: str) -> Database:
        """Migrated. `address` is a URL as SQLAlchemy has them. Raises `DatabaseAway`."""
        thread = ThreadPoolExecutor(1, "gateway-database")
        try:
            engine = await asyncio.get_running_loop().run_in_executor(thread, _open, make_url(address))
        except (SQLAlchemyError, OSError) as error:
            thread.shutdown(wait=False)
            raise _away(error) from None
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(engine, thread)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown()

    async def run(self, work: Callable[[Connection], Result]) -> Result:
        """In one transaction. Raises `DatabaseAway` after `PATIENCE`, or what `work` raises."""

        def transaction() -> Result:
            with self._engine.begin() as connection:
                return work(connection)

        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)
        except TimeoutError:
            raise DatabaseAway(f"the gateway's database did not answer within {PATIENCE:g} s") from None
        except DBAPIError as error:
            raise _away(error) from None


def file_address(path: Path) -> str:
    """The URL of a file of SQLite."""
    return sqlite.address(path).render_as_string()


def _away(error: Exception) -> DatabaseAway:
    cause = getattr(error, "orig", None) or error
    return DatabaseAway(f"the gateway's database does not answer: {inert(masked(str(cause)))[:300]}")


def _open(address: URL) -> Engine:
    if address.get_backend_name() == "sqlite":
        engine = sqlite.engine(address, durable=True, patience=PATIENCE)
    else:
        engine = _postgresql(address)
    try:
        if _revision(engine) != HEAD:
            _migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _postgresql(address: URL) -> Engine:
    """The tables have a schema of their own, so that the database may be shared."""
    options = f"-c search_path={SCHEMA} -c statement_timeout={int(PATIENCE * 1000)}"
    arguments: dict[str, Any] = {
        "connect_timeout": 3,
        "options": options,
        "tcp_user_timeout": 5000,
        "application_name": "machete gateway",
    }
    return create_engine(address, connect_args=arguments, pool_size=1, max_overflow=0, pool_pre_ping=True)


def _revision(engine: Engine) -> str | None:
    """Which step the database is at; None where there is none yet. One query, which is all that most starts need."""
    try:
        with engine.begin() as connection:
            return connection.execute(text(f"SELECT version_num FROM {REVISIONS}")).scalar()
    except DBAPIError:
        # Not there yet, or not reachable: the migration finds out which.
        return None


def _migrate(engine: Engine) -> None:
    """Of gateways that start at once, one does it, and the others find it done."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL statement_timeout = '{MIGRATION_LIMIT}s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        if inspect(connection).has_table(REVISIONS):
            _go_on(connection)
        else:
            _begin(connection)


def _begin(connection: Connection) -> None:
    """An empty database is filled as the newest step would leave it: importing Alembic would take longer than that."""
    Table.metadata.create_all(connection)
    connection.execute(text(f"CREATE TABLE {REVISIONS} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text(f"INSERT INTO {REVISIONS} VALUES (:head)"), {"head": HEAD})


def _go_on(connection: Connection) -> None:
    # It tells of each of its plugins as it is imported.
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    steps = Config()
    steps.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations").replace("%", "%%"))
    steps.attributes["connection"] = connection
    try:
        command.upgrade(steps, "head")
    except CommandError as error:
        raise DatabaseAway(
            f"the gateway's database is of another version than this program ({error}): run the newer one"
        ) from error
