"""Entries as rows, and back: plain statements, a batch at a time.

There are two sets of tables: `SHOWN`, which questions are answered from, and `SECOND`, which a rebuild fills beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Select, Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import quoted_name

from services.status.adapters.schema import EngineTable, OperationTable, PlaceTable, RebuildTable, ToolTable
from services.status.adapters.schema import Table as Declared
from services.status.domain.entries import EngineEntry, OperationEntry, ToolEntry
from services.status.ports import ToolRow


@dataclass(frozen=True)
class Tables:
    """One set of them, with the row that says how far they are filled."""

    tools: Table
    operations: Table
    engines: Table
    place: Table

    @property
    def filled(self) -> tuple[Table, Table, Table]:
        return self.tools, self.operations, self.engines


def _declared(kind: type[Declared]) -> Table:
    return cast(Table, kind.__table__)  # type: ignore[attr-defined]


def _second(table: Table) -> Table:
    second = table.to_metadata(Declared.metadata, name=f"second_{table.name}")
    for index in second.indexes:  # two of one name cannot be in one schema
        index.name = quoted_name(f"ix_{second.name}_{'_'.join(index.columns.keys())}", quote=None)
    return second


SHOWN = Tables(*(_declared(kind) for kind in (ToolTable, OperationTable, EngineTable, PlaceTable)))
SECOND = Tables(*(_second(table) for table in (*SHOWN.filled, SHOWN.place)))
REBUILD = _declared(RebuildTable)

# Below the least number of parameters that a statement may have anywhere.
MOST_IDS = 500

Entry = TypeVar("Entry", ToolEntry, OperationEntry, EngineEntry)


def entries(connection: Connection, bodies: Select[Any], kind: type[Entry]) -> list[Entry]:
    return [kind.model_validate_json(body) for body in connection.execute(bodies).scalars()]


def with_ids(connection: Connection, table: Table, ids: Collection[str], kind: type[Entry]) -> list[Entry]:
    ordered = sorted(ids)
    parts = [ordered[start : start + MOST_IDS] for start in range(0, len(ordered), MOST_IDS)]
    return [
        entry for part in parts for entry in entries(connection, select(table.c.body).where(table.c.id.in_(part)), kind)
    ]


def rows_of(connection: Connection, tools: Sequence[ToolEntry]) -> list[ToolRow]:
    """Each with its engine and what is under way on it."""
    engines = {entry.name: entry for entry in entries(connection, select(SHOWN.engines.c.body), EngineEntry)}
    under_way: dict[str, list[OperationEntry]] = {tool.id: [] for tool in tools}
    operations = SHOWN.operations.c
    open_ones = select(operations.body).where(operations.ended.is_(False), operations.tool.in_(under_way))
    for operation in entries(connection, open_ones.order_by(operations.accepted), OperationEntry):
        under_way[operation.tool].append(operation)
    return [ToolRow(tool, engines.get(tool.engine), tuple(under_way[tool.id])) for tool in tools]


def put_tools(connection: Connection, into: Table, tools: Sequence[ToolEntry]) -> None:
    rows = [{"id": each.id, "name": each.name, "gone": each.gone, "body": each.model_dump_json()} for each in tools]
    put(connection, into, rows)


def put_operations(connection: Connection, into: Table, operations: Sequence[OperationEntry]) -> None:
    rows = [
        {
            "id": each.id,
            "tool": each.tool,
            "tool_name": each.tool_name,
            "state": each.state.value,
            "ended": each.ended,
            "accepted": each.accepted,
            "body": each.model_dump_json(),
        }
        for each in operations
    ]
    put(connection, into, rows)


def put_engines(connection: Connection, into: Table, engines: Sequence[EngineEntry]) -> None:
    put(connection, into, [{"name": each.name, "body": each.model_dump_json()} for each in engines])


def put(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """Inserted, or in the place of the row of the same key."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    insert = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    fresh = {column.name: insert.excluded[column.name] for column in table.columns if column.name not in keys}
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=fresh), list(rows))
