"""The row that says which rebuild is under way, and whose it is."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, select, update

from services.status.adapters.filling import Place
from services.status.adapters.rows import REBUILD, SECOND
from services.status.adapters.transactions import READ_PATIENCE, Transactions
from services.status.domain.entries import RebuildEntry
from services.status.ports import Overtaken, Rebuild


class DatabaseRebuilds:
    """Implements `ports.Rebuilds`, over a connection that others use too."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def last(self) -> Rebuild | None:
        return await self._transactions.run(rebuild_of, READ_PATIENCE, reading=True)

    async def begin(self, entry: RebuildEntry, worker: str) -> RebuildEntry:
        def begin(connection: Connection) -> RebuildEntry:
            found = rebuild_of(connection, locked=True)
            if found is not None and found.entry.state == "running":
                return found.entry
            put_rebuild(connection, Rebuild(entry, worker, 1))
            nowhere = Place("", 0)
            connection.execute(update(SECOND.place).values(epoch=nowhere.epoch, position=nowhere.position))
            return entry

        return await self._transactions.change(begin)

    async def take_over(self, found: Rebuild, worker: str) -> bool:
        def take(connection: Connection) -> bool:
            if rebuild_of(connection, locked=True) != found:
                return False
            put_rebuild(connection, Rebuild(found.entry, worker, found.beat + 1))
            return True

        return await self._transactions.change(take)

    async def fail(self, worker: str, reason: str) -> None:
        def end(connection: Connection) -> None:
            mine = rebuild_carried_out_by(connection, worker)
            entry = mine.entry.model_copy(update={"state": "failed", "reason": reason, "ended_at": datetime.now(UTC)})
            put_rebuild(connection, Rebuild(entry, worker, mine.beat + 1))

        await self._transactions.change(end)


def rebuild_of(connection: Connection, *, locked: bool = False) -> Rebuild | None:
    """`locked`: nobody else changes it until this transaction ends."""
    query = select(REBUILD.c.worker, REBUILD.c.beat, REBUILD.c.body)
    row = connection.execute(query.with_for_update() if locked else query).one_or_none()
    if row is None or not row.body:
        return None
    return Rebuild(RebuildEntry.model_validate_json(row.body), row.worker, row.beat)


def rebuild_carried_out_by(connection: Connection, worker: str) -> Rebuild:
    """Locked. Raises `Overtaken`."""
    found = rebuild_of(connection, locked=True)
    if found is None or found.worker != worker or found.entry.state != "running":
        raise Overtaken(worker)
    return found


def put_rebuild(connection: Connection, rebuild: Rebuild) -> None:
    """In the row that is always there: it is what they lock."""
    body = rebuild.entry.model_dump_json()
    connection.execute(update(REBUILD).values(worker=rebuild.worker, beat=rebuild.beat, body=body))
