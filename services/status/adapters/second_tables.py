"""The tables of a rebuild, beside those that are shown and in the same database, so that one transaction changes over.

Only what differs is written into the shown ones then: that takes a fraction of the time of copying them whole.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from sqlalchemy import Connection, Table, delete, exists, func, literal, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from libs.contracts.envelope import Undecodable
from libs.contracts.tools import ToolRecorded
from libs.runtime.bus.reader import Extent
from libs.runtime.bus.stored import Kept
from libs.runtime.logging import get_logger
from services.status.adapters.databases import Database
from services.status.adapters.filling import Place, begin_again, clear, fold_in, place_of, readable
from services.status.adapters.rebuilds import put_rebuild, rebuild_carried_out_by
from services.status.adapters.rows import SECOND, SHOWN
from services.status.adapters.transactions import CHANGE_PATIENCE, Transactions
from services.status.domain.entries import RebuildEntry
from services.status.ports import Rebuild

log = get_logger(__name__)

# Messages that may be brought while the shown tables are locked; with more to come, they are read unlocked first.
WITHIN_REACH = 512
# Seconds that the server gives each statement of the changeover.
CHANGEOVER_LIMIT = 25


@asynccontextmanager
async def second_tables(database: Database, worker: str) -> AsyncGenerator[DatabaseSecondTables]:
    """With a connection of their own, so that questions do not wait for what is done here."""
    transactions = Transactions(database)
    try:
        yield DatabaseSecondTables(transactions, worker)
    finally:
        await transactions.close()


class DatabaseSecondTables:
    """Implements `ports.SecondTables`. Each change first locks the row that says whose the rebuild is."""

    def __init__(self, transactions: Transactions, worker: str) -> None:
        self._transactions = transactions
        self._worker = worker

    async def stands_at(self, epoch: str) -> int | None:
        found = await self._transactions.run(
            lambda connection: place_of(connection, SECOND), CHANGE_PATIENCE, reading=True
        )
        return found.position if found.epoch == epoch else None

    async def begin_at(self, there: Extent, known: Sequence[Kept]) -> None:
        recorded = [message for kept in known if (message := _recorded(kept)) is not None]
        forgotten = there.first - 1

        def begin(connection: Connection) -> None:
            mine = rebuild_carried_out_by(connection, self._worker)
            begin_again(connection, SECOND, Place(there.epoch, forgotten), recorded)
            _tell(connection, mine, position=forgotten, forgotten=forgotten, up_to=there.last, reason=None)

        await self._transactions.change(begin)

    async def take_in(self, messages: Sequence[Kept]) -> None:
        events, last = list(readable(messages)), messages[-1].sequence

        def store(connection: Connection) -> None:
            mine = rebuild_carried_out_by(connection, self._worker)
            position = place_of(connection, SECOND).position
            fold_in(connection, SECOND, [(sequence, event) for sequence, event in events if sequence > position])
            _stands_at(connection, max(last, position))
            _tell(connection, mine, position=last, up_to=max(last, mine.entry.up_to), reason=None)

        await self._transactions.change(store)

    async def change_over(self, between: Callable[[int, int], Sequence[Kept]]) -> RebuildEntry | None:
        """All at once, what is shown is what stood here, and here is nothing; None while that is too far behind.

        `between` is called in the thread, with the shown tables locked: what it gives was stored already.
        """

        def change(connection: Connection) -> RebuildEntry | None:
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"SET LOCAL statement_timeout = '{CHANGEOVER_LIMIT}s'"))
            mine = rebuild_carried_out_by(connection, self._worker)
            shown, second = place_of(connection, SHOWN, locked=True), place_of(connection, SECOND)
            if shown.epoch != second.epoch or shown.position - second.position > WITHIN_REACH:
                return None
            if shown.position > second.position:
                fold_in(connection, SECOND, list(readable(between(second.position, shown.position))))
            position = max(shown.position, second.position)
            counts = _carry_over(connection)
            connection.execute(update(SHOWN.place).values(position=position))
            clear(connection, SECOND)
            connection.execute(update(SECOND.place).values(epoch="", position=0))
            return _tell(
                connection,
                mine,
                state="succeeded",
                position=position,
                up_to=position,
                reason=None,
                ended_at=datetime.now(UTC),
                **counts,
            )

        return await self._transactions.change(change)


def _stands_at(connection: Connection, position: int) -> None:
    connection.execute(update(SECOND.place).values(position=position))


def _tell(connection: Connection, mine: Rebuild, **changes: object) -> RebuildEntry:
    entry = mine.entry.model_copy(update=changes)
    put_rebuild(connection, Rebuild(entry, mine.worker, mine.beat + 1))
    return entry


def _carry_over(connection: Connection) -> dict[str, int]:
    """What is in the second tables, into the shown ones; how many rows that took, and what there is."""
    differed = dropped = 0
    for shown, second in zip(SHOWN.filled, SECOND.filled, strict=True):
        dropped += _drop_others(connection, shown, second)
        differed += _put_different(connection, shown, second)
    tools = select(func.count()).select_from(SHOWN.tools).where(SHOWN.tools.c.gone.is_(False))
    operations = select(func.count()).select_from(SHOWN.operations)
    return {
        "differed": differed,
        "dropped": dropped,
        "tools": connection.execute(tools).scalar_one(),
        "operations": connection.execute(operations).scalar_one(),
    }


def _drop_others(connection: Connection, shown: Table, second: Table) -> int:
    (key,) = shown.primary_key
    there = exists(select(literal(1)).where(second.c[key.name] == key))
    return connection.execute(delete(shown).where(~there)).rowcount


def _put_different(connection: Connection, shown: Table, second: Table) -> int:
    (key,) = shown.primary_key
    others = [column.name for column in shown.columns if column is not key]
    same = second.outerjoin(shown, second.c[key.name] == key)
    differs = or_(key.is_(None), *(second.c[name] != shown.c[name] for name in others))
    rows = select(*second.columns).select_from(same).where(differs)
    insert = postgresql.insert(shown) if connection.dialect.name == "postgresql" else sqlite.insert(shown)
    put = insert.from_select([column.name for column in second.columns], rows)
    fresh = {name: put.excluded[name] for name in others}
    whole = put.on_conflict_do_update(index_elements=[key.name], set_=fresh)
    return connection.execute(whole, execution_options={"preserve_rowcount": True}).rowcount


def _recorded(kept: Kept) -> ToolRecorded | None:
    try:
        message = kept.open().data
    except Undecodable as problem:
        log.error("a tool's state cannot be read and is passed over", sequence=kept.sequence, problem=str(problem))
        return None
    return message if isinstance(message, ToolRecorded) else None
