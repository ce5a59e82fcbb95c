"""What filling a set of tables consists of, whichever set it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, delete, select, update

import libs.contracts.tasks  # noqa: F401  # the end of a task is among the events, so its type must be known
from libs.contracts.envelope import Message, Undecodable, decode_message
from libs.contracts.tools import ToolRecorded
from libs.runtime.bus.stored import Kept
from services.status.adapters.rows import (
    Tables,
    entries,
    put_engines,
    put_operations,
    put_tools,
    with_ids,
)
from services.status.adapters.schema import VERSION
from services.status.domain.entries import EngineEntry, OperationEntry, ToolEntry
from services.status.domain.folding import recalled
from services.status.domain.ledger import Ledger, about
from services.status.ports import TablesAway

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Place:
    epoch: str
    position: int


def place_of(connection: Connection, of: Tables, *, locked: bool = False) -> Place:
    """How far they are filled; `locked`: nobody else changes them until this transaction ends."""
    query = select(of.place.c.version, of.place.c.epoch, of.place.c.position)
    row = connection.execute(query.with_for_update() if locked else query).one_or_none()
    if row is None or row.version != VERSION:
        raise TablesAway("the tables in the status database were made by another release; they are looked at again")
    return Place(row.epoch, row.position)


def begin_again(connection: Connection, of: Tables, place: Place, known: Sequence[ToolRecorded]) -> None:
    """With nothing but the tools as these tell them."""
    clear(connection, of)
    put_tools(connection, of.tools, [entry for recorded in known if (entry := recalled(recorded)) is not None])
    connection.execute(update(of.place).values(epoch=place.epoch, position=place.position))


def clear(connection: Connection, of: Tables) -> None:
    for table in of.filled:
        connection.execute(delete(table))


def fold_in(connection: Connection, into: Tables, events: Sequence[tuple[int, Message]]) -> None:
    if not events:
        return
    told = [about(message) for _, message in events]
    operations = {operation for _, operation, _ in told if operation}
    ledger = Ledger(
        with_ids(connection, into.tools, {tool for tool, _, _ in told if tool}, ToolEntry),
        with_ids(connection, into.operations, operations, OperationEntry),
        entries(connection, select(into.engines.c.body), EngineEntry),
    )
    for sequence, message in events:
        ledger.enter(sequence, message)
    put_tools(connection, into.tools, ledger.changed_tools)
    put_operations(connection, into.operations, ledger.changed_operations)
    put_engines(connection, into.engines, ledger.changed_engines)


def readable(messages: Sequence[Kept]) -> Iterator[tuple[int, Message]]:
    """An event that nobody can read changes nothing; the rest of the stream must not stop for it."""
    for kept in messages:
        try:
            yield kept.sequence, decode_message(kept.data, kept.subject)
        except Undecodable as problem:
            log.error("an event cannot be read and is passed over", sequence=kept.sequence, problem=str(problem))
