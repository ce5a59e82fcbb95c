"""The projection in a database: what questions are answered from.

Several processes may fill the same tables: whoever writes locks the row that says how far they are filled, and leaves
out what is there already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection, delete, select, update

from libs.contracts.tools import ToolRecorded
from libs.runtime.bus.stored import Kept
from services.status.adapters.databases import Database
from services.status.adapters.filling import Place, begin_again, fold_in, place_of, readable
from services.status.adapters.rows import SHOWN, entries, rows_of, with_ids
from services.status.adapters.transactions import CHANGE_PATIENCE, PROBE_PATIENCE, READ_PATIENCE, Transactions
from services.status.domain.entries import OperationEntry, ToolEntry
from services.status.domain.ledger import about
from services.status.ports import About, TablesAway, ToolRow, Wanted

TOOLS, OPERATIONS = SHOWN.tools, SHOWN.operations

Result = TypeVar("Result")


class DatabaseTables:
    """Implements `ports.Tables`; `close` ends its thread."""

    def __init__(self, database: Database) -> None:
        self.transactions = Transactions(database)
        # What the tables said when they were asked, and what they must hold since: others may write into them.
        self._found: Place | None = None
        self._reached: Place | None = None

    @property
    def label(self) -> str:
        return self.transactions.label

    async def close(self) -> None:
        await self.transactions.close()

    async def probe(self) -> None:
        """Raises `TablesAway` unless they can be read now."""
        await self.transactions.run(
            lambda connection: self._must_be_ours(place_of(connection, SHOWN)), PROBE_PATIENCE, reading=True
        )

    async def stands_at(self, epoch: str) -> int | None:
        found = self._found = await self.transactions.run(
            lambda connection: place_of(connection, SHOWN), CHANGE_PATIENCE, reading=True
        )
        if found.epoch != epoch:
            return None
        self._reached = found
        return found.position

    async def empty(self, epoch: str, position: int, known: Sequence[ToolRecorded]) -> None:
        """Unless another process has done so since `stands_at`."""
        found, place = self._found, Place(epoch, position)

        def begin(connection: Connection) -> None:
            if found is None or place_of(connection, SHOWN, locked=True) == found:
                begin_again(connection, SHOWN, place, known)

        await self.transactions.change(begin)
        self._reached = place

    async def take_in(self, messages: Sequence[Kept]) -> About:
        events = list(readable(messages))
        told = [about(message) for _, message in events]
        last = messages[-1].sequence

        def store(connection: Connection) -> str:
            place = place_of(connection, SHOWN, locked=True)
            self._must_be_ours(place)
            fold_in(
                connection, SHOWN, [(sequence, message) for sequence, message in events if sequence > place.position]
            )
            if last > place.position:
                connection.execute(update(SHOWN.place).values(position=last))
            return place.epoch

        self._reached = Place(await self.transactions.change(store), last)
        tools, operations, engines = ({each[kind] for each in told} - {None} for kind in range(3))
        return About(frozenset(tools), frozenset(operations), frozenset(engines))  # type: ignore[arg-type]

    async def forget(self, before: int, most: int) -> int:
        old = select(OPERATIONS.c.id).where(OPERATIONS.c.accepted < before, OPERATIONS.c.ended).limit(most)

        def drop(connection: Connection) -> int:
            self._must_be_ours(place_of(connection, SHOWN, locked=True))
            return connection.execute(delete(OPERATIONS).where(OPERATIONS.c.id.in_(old))).rowcount

        return await self.transactions.change(drop)

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

    async def tools_with(self, ids: Sequence[str]) -> list[ToolRow]:
        def read(connection: Connection) -> list[ToolRow]:
            found = with_ids(connection, TOOLS, ids, ToolEntry)
            return rows_of(connection, [entry for entry in found if not entry.gone])

        return await self._read(read)

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
            self._must_be_ours(place_of(connection, SHOWN))
            return work(connection)

        return await self.transactions.run(read, READ_PATIENCE, reading=True)

    def _must_be_ours(self, place: Place) -> None:
        reached = self._reached
        if reached is not None and (place.epoch != reached.epoch or place.position < reached.position):
            raise TablesAway(f"the status database ({self.label}) is being filled anew; ask again in a moment")
