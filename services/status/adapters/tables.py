"""The projection in a database: SQLite in a file; nothing here but `open_file` knows that it is one.

One thread does all of it, so that a batch is never seen half-way and the event loop never waits for a disk.
SQLite keeps a write-ahead log and syncs it at checkpoints only: what a power cut takes, the stream brings again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine, MetaData, create_engine, delete, event, insert, inspect, select, update
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError

from libs.contracts.envelope import Message, Undecodable
from libs.contracts.names import random_word
from libs.contracts.tools import ToolRecorded
from libs.runtime import metrics
from libs.runtime.bus.connection import Kept
from services.status.adapters.rows import (
    ENGINES,
    OPERATIONS,
    PLACE,
    TOOLS,
    entries,
    put_engines,
    put_operations,
    put_tools,
    rows_of,
    with_ids,
)
from services.status.adapters.schema import VERSION, Table
from services.status.domain.entries import EngineEntry, OperationEntry, ToolEntry
from services.status.domain.folding import recalled
from services.status.domain.ledger import Ledger, about
from services.status.ports import ToolRow, Wanted

log = structlog.get_logger(__name__)

_ERRORS = metrics.database_errors.labels("status")

Result = TypeVar("Result")


class DatabaseTables:
    """Made by `opened`; `close` ends its thread. Implements `ports.Tables`."""

    def __init__(self, engine: Engine, thread: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._thread = thread

    @classmethod
    async def opened(cls, open_database: Callable[[], Engine]) -> DatabaseTables:
        """`open_database`, such as `open_file` of a path, runs in the thread."""
        thread = ThreadPoolExecutor(1, "status-tables")
        return cls(await asyncio.get_running_loop().run_in_executor(thread, open_database), thread)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown()

    async def _run(self, work: Callable[[Connection], Result]) -> Result:
        """In one transaction, in the thread."""

        def transaction() -> Result:
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except SQLAlchemyError:
                _ERRORS.inc()
                raise

        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)

    async def name(self) -> str:
        return await self._run(lambda connection: connection.execute(select(PLACE.c.name)).scalar_one())

    async def stands_at(self, epoch: str) -> int | None:
        def read(connection: Connection) -> int | None:
            row = connection.execute(select(PLACE.c.epoch, PLACE.c.position)).one()
            return row.position if row.epoch == epoch else None

        return await self._run(read)

    async def empty(self, epoch: str, position: int, known: Sequence[ToolRecorded]) -> None:
        def begin(connection: Connection) -> None:
            for table in (TOOLS, OPERATIONS, ENGINES):
                connection.execute(delete(table))
            put_tools(connection, [entry for recorded in known if (entry := recalled(recorded)) is not None])
            connection.execute(update(PLACE).values(epoch=epoch, position=position))

        await self._run(begin)

    async def take_in(self, messages: Sequence[Kept]) -> set[str]:
        def store(connection: Connection) -> set[str]:
            events = list(_opened(messages))
            told = [about(message) for _, message in events]
            operations = {operation for _, operation, _ in told if operation}
            ledger = Ledger(
                with_ids(connection, TOOLS, {tool for tool, _, _ in told if tool}, ToolEntry),
                with_ids(connection, OPERATIONS, operations, OperationEntry),
                entries(connection, select(ENGINES.c.body), EngineEntry),
            )
            for sequence, message in events:
                ledger.enter(sequence, message)
            put_tools(connection, ledger.changed_tools)
            put_operations(connection, ledger.changed_operations)
            put_engines(connection, ledger.changed_engines)
            connection.execute(update(PLACE).values(position=messages[-1].sequence))
            return operations

        return await self._run(store)

    async def tool(self, name_or_id: str) -> ToolRow | None:
        def read(connection: Connection) -> ToolRow | None:
            here = select(TOOLS.c.body).where(TOOLS.c.gone.is_(False))
            found = entries(connection, here.where(TOOLS.c.id == name_or_id), ToolEntry)
            found = found or entries(connection, here.where(TOOLS.c.name == name_or_id), ToolEntry)
            # Of two with one name, one only asks for it.
            found.sort(key=lambda entry: (entry.tool is not None, entry.created_at))
            return rows_of(connection, found[-1:])[0] if found else None

        return await self._run(read)

    async def tools(self, after: tuple[str, str], limit: int) -> list[ToolRow]:
        name, id = after
        behind = (TOOLS.c.name > name) | ((TOOLS.c.name == name) & (TOOLS.c.id > id))
        page = select(TOOLS.c.body).where(TOOLS.c.gone.is_(False), behind).order_by(TOOLS.c.name, TOOLS.c.id)
        return await self._run(lambda opened: rows_of(opened, entries(opened, page.limit(limit), ToolEntry)))

    async def tool_names(self) -> list[str]:
        names = select(TOOLS.c.name).where(TOOLS.c.gone.is_(False)).distinct().order_by(TOOLS.c.name)
        return await self._run(lambda connection: list(connection.execute(names).scalars()))

    async def operation(self, id: str) -> OperationEntry | None:
        wanted = select(OPERATIONS.c.body).where(OPERATIONS.c.id == id)
        found = await self._run(lambda connection: entries(connection, wanted, OperationEntry))
        return found[0] if found else None

    async def operations(self, wanted: Wanted, limit: int) -> list[OperationEntry]:
        query = select(OPERATIONS.c.body).order_by(OPERATIONS.c.accepted.desc()).limit(limit)
        if wanted.tool is not None:
            query = query.where((OPERATIONS.c.tool == wanted.tool) | (OPERATIONS.c.tool_name == wanted.tool))
        if wanted.state is not None:
            query = query.where(OPERATIONS.c.state == wanted.state.value)
        if wanted.before is not None:
            query = query.where(OPERATIONS.c.accepted < wanted.before)
        return await self._run(lambda connection: entries(connection, query, OperationEntry))


def _opened(messages: Sequence[Kept]) -> Iterator[tuple[int, Message]]:
    """An event that nobody can read changes nothing; the rest of the stream must not stop for it."""
    for kept in messages:
        try:
            yield kept.sequence, kept.open().data
        except Undecodable as problem:
            log.error("an event cannot be read and is passed over", sequence=kept.sequence, problem=str(problem))


def open_file(path: Path) -> Engine:
    """The SQLite file, made if it is missing; one that is damaged is begun anew, because the stream has it all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return prepared(_sqlite(path))
    except OperationalError:
        raise
    except DatabaseError as problem:
        log.error("the status database is damaged; it is filled anew", file=str(path), problem=str(problem))
        for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            file.unlink(missing_ok=True)
        return prepared(_sqlite(path))


def _sqlite(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}")

    def set_up(connection: Any, _record: object) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "busy_timeout = 5000"):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", set_up)
    with engine.connect() as connection:
        verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if verdict != "ok":
        raise DatabaseError("PRAGMA quick_check", None, ValueError(verdict))
    return engine


def prepared(engine: Engine) -> Engine:
    """With the tables of this version: those of any other are dropped."""
    with engine.begin() as connection:
        if _version(connection) != VERSION:
            there = MetaData()
            there.reflect(connection)
            there.drop_all(connection)
            Table.metadata.create_all(connection)
            place = {"id": 1, "version": VERSION, "name": f"status-{random_word(8)}", "epoch": "", "position": 0}
            connection.execute(insert(PLACE).values(place))
    return engine


def _version(connection: Connection) -> int | None:
    if not inspect(connection).has_table(PLACE.name):
        return None
    columns = {column["name"] for column in inspect(connection).get_columns(PLACE.name)}
    return connection.execute(select(PLACE.c.version)).scalar() if "version" in columns else None
