"""Where the tables can lie: in a SQLite file, or in a PostgreSQL database that several replicas fill together."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psycopg
import structlog
from sqlalchemy import URL, Connection, Engine, MetaData, create_engine, event, func, insert, inspect, select, text
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError

from libs.runtime import sqlite
from services.status.adapters.rows import REBUILD, SECOND, SHOWN
from services.status.adapters.schema import VERSION, Table
from services.status.ports import TablesAway

log = structlog.get_logger(__name__)

# Its own, so that nothing else in the database is touched when these tables are dropped.
SCHEMA = "machete_status"
# Seconds. A lock is asked for again and again instead of waited for: queries have their turn in between.
LOCK_WAIT = 0.5
STATEMENT_LIMIT = 10
# A replica that is frozen while it holds the lock holds it no longer than this.
IDLE_LIMIT = 5
CONNECT_LIMIT = 5
# Any number, the same for all that make these tables.
MAKING_TABLES = 0x57A705
LOCK_NOT_AVAILABLE = "55P03"
SQLITE_BUSY, SQLITE_LOCKED = 5, 6


@dataclass(frozen=True)
class Opened:
    """One pool with one connection. `changing` transactions exclude each other, `reading` ones see one moment."""

    changing: Engine
    reading: Engine

    def close(self) -> None:
        self.changing.dispose()


class Database(Protocol):
    @property
    def label(self) -> str:
        """What people call it; holds no secret."""
        ...

    def open(self) -> Opened:
        """With the tables of this version, made if need be. Raises `DBAPIError`, and `TablesAway`."""
        ...

    def cut(self) -> None:
        """Ends, from another thread, whatever is waited for now."""
        ...


@dataclass(frozen=True)
class File:
    """SQLite, made if it is missing; one that is damaged is begun anew, because the stream has it all.

    It keeps a write-ahead log and syncs it at checkpoints only: what a power cut takes, the stream brings again.
    """

    path: Path

    @property
    def label(self) -> str:
        return f"SQLite, {self.path}"

    def open(self) -> Opened:
        try:
            return prepared(self._examined())
        except OperationalError:
            raise
        except DatabaseError as problem:
            log.error("the status database is damaged; it is filled anew", file=str(self.path), problem=str(problem))
            for file in (self.path, *(self.path.with_name(self.path.name + end) for end in ("-wal", "-shm"))):
                file.unlink(missing_ok=True)
            return prepared(self._examined())

    def cut(self) -> None:
        """Nothing here is waited for long."""

    def _examined(self) -> Opened:
        opened = in_sqlite(sqlite.address(self.path))
        with opened.reading.connect() as connection:
            verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if verdict != "ok":
            raise DatabaseError("PRAGMA quick_check", None, ValueError(verdict))
        return opened


@dataclass(frozen=True)
class Server:
    """PostgreSQL. Locks and statements are bounded there, dead connections by TCP."""

    url: URL
    _connections: list[psycopg.Connection[Any]] = field(default_factory=list[psycopg.Connection[Any]], init=False)

    @property
    def label(self) -> str:
        return f"PostgreSQL, {self.url.host}:{self.url.port or 5432}/{self.url.database}"

    def open(self) -> Opened:
        given = self.url.query.get("options", "")
        options = {
            "search_path": SCHEMA,
            "lock_timeout": f"{LOCK_WAIT}s",
            "statement_timeout": f"{STATEMENT_LIMIT}s",
            "idle_in_transaction_session_timeout": f"{IDLE_LIMIT}s",
        }
        words = [given if isinstance(given, str) else " ".join(given)]
        words += [f"-c {name}={value}" for name, value in options.items()]
        engine = create_engine(
            self.url,
            pool_size=1,
            max_overflow=0,
            hide_parameters=True,
            connect_args={
                "application_name": "machete-status",
                "connect_timeout": CONNECT_LIMIT,
                "keepalives_idle": 5,
                "keepalives_interval": 2,
                "keepalives_count": 3,
                "tcp_user_timeout": 10_000,
                "options": " ".join(words).strip(),
            },
        )
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "do_executemany", _one_by_one)
        moment = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        return prepared(Opened(engine, engine.execution_options(**moment)))

    def cut(self) -> None:
        for connection in self._connections:
            try:
                with socket.socket(fileno=os.dup(connection.fileno())) as shared:
                    shared.shutdown(socket.SHUT_RDWR)
            except (OSError, psycopg.Error) as problem:
                log.debug("there was nothing to cut", problem=str(problem))

    def _connected(self, connection: psycopg.Connection[Any], _record: object) -> None:
        self._connections[:] = [connection]


def _one_by_one(cursor: Any, statement: str, rows: Sequence[Any], _context: object) -> bool:
    """Without the driver's pipeline: of one frozen inside it the server believes that it is at work, for ever."""
    for row in rows:
        cursor.execute(statement, row)
    return True


def in_sqlite(address: URL) -> Opened:
    engine = sqlite.engine(address, durable=False, patience=LOCK_WAIT)
    return Opened(engine, sqlite.reading(engine))


def prepared(opened: Opened) -> Opened:
    """With the tables of this version: those of any other are dropped, in a database of one's own."""
    with opened.changing.begin() as connection:
        shared = connection.dialect.name == "postgresql"
        if shared:
            _alone_in_schema(connection)
        version = _version(connection)
        if shared and version is not None and version > VERSION:
            raise TablesAway(
                f"the status database holds tables of version {version} and this process knows version {VERSION}: "
                "run the newer release here too, or give it another database"
            )
        if version != VERSION:
            there = MetaData()
            there.reflect(connection)
            there.drop_all(connection)
            Table.metadata.create_all(connection)
            for place in (SHOWN.place, SECOND.place):
                connection.execute(insert(place).values(id=1, version=VERSION, epoch="", position=0))
            connection.execute(insert(REBUILD).values(key=1, worker="", beat=0, body=""))
    return opened


def _alone_in_schema(connection: Connection) -> None:
    """Of all that may come here at once, one makes the tables, and the others find them made."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{STATEMENT_LIMIT}s'"))
    connection.execute(select(func.pg_advisory_xact_lock(MAKING_TABLES)))
    # Asked before, because `IF NOT EXISTS` wants the right to make schemas even where this one is there.
    if not inspect(connection).has_schema(SCHEMA):
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))


def _version(connection: Connection) -> int | None:
    if not inspect(connection).has_table(SHOWN.place.name):
        return None
    columns = {column["name"] for column in inspect(connection).get_columns(SHOWN.place.name)}
    return connection.execute(select(SHOWN.place.c.version)).scalar() if "version" in columns else None


def is_locked(problem: DBAPIError) -> bool:
    """Whether another one holds what was asked for; nothing is wrong then."""
    code = getattr(problem.orig, "sqlite_errorcode", 0) & 0xFF
    return code in (SQLITE_BUSY, SQLITE_LOCKED) or getattr(problem.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE
