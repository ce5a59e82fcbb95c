"""The projection in a database.

One thread does all of it over one connection, so that the event loop never waits for a disk or a network. Several
processes may fill the same tables: whoever writes locks the row that says how far they are filled, and leaves
out what is there already. What breaks is opened anew at the next use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import structlog
from sqlalchemy import Connection, delete, select, update
from sqlalchemy.exc import DBAPIError

import libs.contracts.tasks  # noqa: F401  # the end of a task is among the events, so its type must be known
from libs.contracts.envelope import Message, Undecodable
from libs.contracts.tools import ToolRecorded
from libs.runtime import metrics
from libs.runtime.bus.connection import Kept
from services.status.adapters.databases import Database, Opened, is_locked
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
from services.status.adapters.schema import VERSION
from services.status.domain.entries import EngineEntry, OperationEntry, ToolEntry
from services.status.domain.folding import recalled
from services.status.domain.ledger import Ledger, about
from services.status.ports import TablesAway, ToolRow, Wanted

log = structlog.get_logger(__name__)

_ERRORS = metrics.database_errors.labels("status")

# Seconds. Who asks a question waits less long than the projection, which has nothing else to do.
READ_PATIENCE = 4.0
CHANGE_PATIENCE = 30.0
PROBE_PATIENCE = 1.0
LOCKED_PAUSE = 0.05

Result = TypeVar("Result")


class TablesLocked(TablesAway):
    """Another process writes; nothing is wrong unless it lasts."""


@dataclass(frozen=True)
class Place:
    epoch: str
    position: int


class DatabaseTables:
    """Opens the database at first use; `close` ends its thread. Implements `ports.Tables`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, "status-tables")
        self._opened: Opened | None = None
        self._over = False
        # What the tables said when they were asked, and what they must hold since: others may write into them.
        self._found: Place | None = None
        self._reached: Place | None = None

    @property
    def label(self) -> str:
        return self._database.label

    async def close(self) -> None:
        """Cuts off what does not end by itself: no server may keep a process from stopping."""
        self._over = True
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        _, hanging = await asyncio.wait([closing], timeout=PROBE_PATIENCE)
        if hanging:
            self._database.cut()
        self._thread.shutdown(wait=False, cancel_futures=not hanging)

    async def probe(self) -> None:
        """Raises `TablesAway` unless they can be read now."""
        await self._run(lambda connection: self._must_be_ours(_place(connection)), PROBE_PATIENCE, reading=True)

    async def stands_at(self, epoch: str) -> int | None:
        found = self._found = await self._run(_place, CHANGE_PATIENCE, reading=True)
        if found.epoch != epoch:
            return None
        self._reached = found
        return found.position

    async def empty(self, epoch: str, position: int, known: Sequence[ToolRecorded]) -> None:
        """Unless another process has done so since `stands_at`."""
        found = self._found

        def begin(connection: Connection) -> None:
            if found is not None and _place(connection, locked=True) != found:
                return
            for table in (TOOLS, OPERATIONS, ENGINES):
                connection.execute(delete(table))
            put_tools(connection, [entry for recorded in known if (entry := recalled(recorded)) is not None])
            connection.execute(update(PLACE).values(epoch=epoch, position=position))

        await self._change(begin)
        self._reached = Place(epoch, position)

    async def take_in(self, messages: Sequence[Kept]) -> set[str]:
        events = list(_opened(messages))
        told = [about(message) for _, message in events]
        last = messages[-1].sequence

        def store(connection: Connection) -> str:
            place = _place(connection, locked=True)
            self._must_be_ours(place)
            fresh = [(sequence, message) for sequence, message in events if sequence > place.position]
            _fold(connection, fresh)
            if last > place.position:
                connection.execute(update(PLACE).values(position=last))
            return place.epoch

        self._reached = Place(await self._change(store), last)
        return {operation for _, operation, _ in told if operation}

    async def tool(self, name_or_id: str) -> ToolRow | None:
        def read(connection: Connection) -> ToolRow | None:
            here = select(TOOLS.c.body).where(TOOLS.c.gone.is_(False))
            found = entries(connection, here.where(TOOLS.c.id == name_or_id), ToolEntry)
            found = found or entries(connection, here.where(TOOLS.c.name == name_or_id), ToolEntry)
            # Of two with one name, one only asks for it.
            found.sort(key=lambda entry: (entry.tool is not None, entry.created_at))
            return rows_of(connection, found[-1:])[0] if found else None

        return await self._read(read)

    async def tools(self, after: tuple[str, str], limit: int) -> list[ToolRow]:
        name, id = after
        behind = (TOOLS.c.name > name) | ((TOOLS.c.name == name) & (TOOLS.c.id > id))
        page = select(TOOLS.c.body).where(TOOLS.c.gone.is_(False), behind).order_by(TOOLS.c.name, TOOLS.c.id)
        return await self._read(lambda opened: rows_of(opened, entries(opened, page.limit(limit), ToolEntry)))

    async def tool_names(self) -> list[str]:
        names = select(TOOLS.c.name).where(TOOLS.c.gone.is_(False)).distinct().order_by(TOOLS.c.name)
        return await self._read(lambda connection: list(connection.execute(names).scalars()))

    async def operation(self, id: str) -> OperationEntry | None:
        wanted = select(OPERATIONS.c.body).where(OPERATIONS.c.id == id)
        found = await self._read(lambda connection: entries(connection, wanted, OperationEntry))
        return found[0] if found else None

    async def operations(self, wanted: Wanted, limit: int) -> list[OperationEntry]:
        query = select(OPERATIONS.c.body).order_by(OPERATIONS.c.accepted.desc()).limit(limit)
        if wanted.tool is not None:
            query = query.where((OPERATIONS.c.tool == wanted.tool) | (OPERATIONS.c.tool_name == wanted.tool))
        if wanted.state is not None:
            query = query.where(OPERATIONS.c.state == wanted.state.value)
        if wanted.before is not None:
            query = query.where(OPERATIONS.c.accepted < wanted.before)
        return await self._read(lambda connection: entries(connection, query, OperationEntry))

    async def _read(self, work: Callable[[Connection], Result]) -> Result:
        """All of it as of one moment, and never of an earlier one than was seen here before."""

        def read(connection: Connection) -> Result:
            self._must_be_ours(_place(connection))
            return work(connection)

        return await self._run(read, READ_PATIENCE, reading=True)

    async def _change(self, work: Callable[[Connection], Result]) -> Result:
        """May be done twice, when nobody knows whether the first time was stored."""
        clock = asyncio.get_running_loop()
        give_up = clock.time() + CHANGE_PATIENCE
        while True:
            try:
                return await self._run(work, CHANGE_PATIENCE, reading=False)
            except TablesLocked:
                if clock.time() > give_up:
                    raise
                await asyncio.sleep(LOCKED_PAUSE)

    async def _run(self, work: Callable[[Connection], Result], patience: float, *, reading: bool) -> Result:
        """In one transaction, in the thread. Raises `TablesAway`, also after so many seconds."""
        try:
            async with asyncio.timeout(patience):
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work, reading)
        except TimeoutError:
            raise TablesAway(f"the status database ({self.label}) gave no answer within {patience:g} s") from None

    def _transaction(self, work: Callable[[Connection], Result], reading: bool) -> Result:
        try:
            try:
                return self._attempt(work, reading)
            except DBAPIError as problem:
                if self._over or not problem.connection_invalidated:
                    raise
                log.info("the connection to the status database was lost; it is opened again", database=self.label)
                return self._attempt(work, reading)
        except DBAPIError as problem:
            kind = TablesLocked if is_locked(problem) else TablesAway
            reason = str(problem.orig).strip().partition("\n")[0]
            raise kind(f"the status database ({self.label}) cannot be used now: {reason}") from problem
        except OSError as problem:
            raise TablesAway(f"the status database ({self.label}) cannot be used now: {problem.strerror}") from problem

    def _attempt(self, work: Callable[[Connection], Result], reading: bool) -> Result:
        opened = self._opened = self._opened or self._database.open()
        try:
            with (opened.reading if reading else opened.changing).begin() as connection:
                return work(connection)
        except DBAPIError as problem:
            _ERRORS.inc()
            if not is_locked(problem):
                self._close()
            raise
        except TablesAway:
            self._close()
            raise

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _must_be_ours(self, place: Place) -> None:
        reached = self._reached
        if reached is not None and (place.epoch != reached.epoch or place.position < reached.position):
            raise TablesAway(f"the status database ({self.label}) is being filled anew; ask again in a moment")


def _place(connection: Connection, *, locked: bool = False) -> Place:
    """How far they are filled; `locked`: nobody else changes them until this transaction ends."""
    query = select(PLACE.c.version, PLACE.c.epoch, PLACE.c.position)
    row = connection.execute(query.with_for_update() if locked else query).one_or_none()
    if row is None or row.version != VERSION:
        raise TablesAway("the tables in the status database were made by another release; they are looked at again")
    return Place(row.epoch, row.position)


def _fold(connection: Connection, events: Sequence[tuple[int, Message]]) -> None:
    if not events:
        return
    told = [about(message) for _, message in events]
    ledger = Ledger(
        with_ids(connection, TOOLS, {tool for tool, _, _ in told if tool}, ToolEntry),
        with_ids(connection, OPERATIONS, {operation for _, operation, _ in told if operation}, OperationEntry),
        entries(connection, select(ENGINES.c.body), EngineEntry),
    )
    for sequence, message in events:
        ledger.enter(sequence, message)
    put_tools(connection, ledger.changed_tools)
    put_operations(connection, ledger.changed_operations)
    put_engines(connection, ledger.changed_engines)


def _opened(messages: Sequence[Kept]) -> Iterator[tuple[int, Message]]:
    """An event that nobody can read changes nothing; the rest of the stream must not stop for it."""
    for kept in messages:
        try:
            yield kept.sequence, kept.open().data
        except Undecodable as problem:
            log.error("an event cannot be read and is passed over", sequence=kept.sequence, problem=str(problem))
