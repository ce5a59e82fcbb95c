"""Entries as rows, and back: plain statements, a batch at a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Select, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from services.status.adapters.schema import EngineTable, OperationTable, PlaceTable, ToolTable
from services.status.domain.entries import EngineEntry, OperationEntry, ToolEntry
from services.status.ports import ToolRow

TOOLS = cast(Table, ToolTable.__table__)  # type: ignore[attr-defined]
OPERATIONS = cast(Table, OperationTable.__table__)  # type: ignore[attr-defined]
ENGINES = cast(Table, EngineTable.__table__)  # type: ignore[attr-defined]
PLACE = cast(Table, PlaceTable.__table__)  # type: ignore[attr-defined]

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
    engines = {entry.name: entry for entry in entries(connection, select(ENGINES.c.body), EngineEntry)}
    under_way: dict[str, list[OperationEntry]] = {tool.id: [] for tool in tools}
    open_ones = select(OPERATIONS.c.body).where(OPERATIONS.c.ended.is_(False), OPERATIONS.c.tool.in_(under_way))
    for operation in entries(connection, open_ones.order_by(OPERATIONS.c.accepted), OperationEntry):
        under_way[operation.tool].append(operation)
    return [ToolRow(tool, engines.get(tool.engine), tuple(under_way[tool.id])) for tool in tools]


def put_tools(connection: Connection, tools: Sequence[ToolEntry]) -> None:
    rows = [{"id": each.id, "name": each.name, "gone": each.gone, "body": each.model_dump_json()} for each in tools]
    _put(connection, TOOLS, rows)


def put_operations(connection: Connection, operations: Sequence[OperationEntry]) -> None:
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
    _put(connection, OPERATIONS, rows)


def put_engines(connection: Connection, engines: Sequence[EngineEntry]) -> None:
    _put(connection, ENGINES, [{"name": each.name, "body": each.model_dump_json()} for each in engines])


def _put(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """Inserted, or in the place of the row of the same key."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    insert = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    fresh = {column.name: insert.excluded[column.name] for column in table.columns if column.name not in keys}
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=fresh), list(rows))
