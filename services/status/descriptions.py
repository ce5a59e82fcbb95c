"""What the status service answers to whoever wants a tool whole: with its manifest, and with its last lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from libs.contracts.queries import DescribeTools, Question, ReadLastLines
from libs.contracts.views import Descriptions, LastLines, PrintedLine, ToolDescription
from libs.runtime.bus.connection import Bus
from libs.runtime.masking import MASK, is_secret_key, masked
from services.status.domain.pages import tool_cursor, tool_place
from services.status.domain.showing import tool_shown
from services.status.handlers import Respond, answering
from services.status.lines import last_lines
from services.status.lookup import Lookup
from services.status.ports import ToolRow

# An answer is one message, of which NATS takes 1 MiB as it comes. One tool, whose record fits in a message, fits too.
MOST_BYTES = 256 * 1024
PAGE = 50


@dataclass(frozen=True)
class Describing:
    lookup: Lookup
    bus: Bus

    def table(self) -> Mapping[type[Question], Respond]:
        return {
            DescribeTools: answering(self.lookup, self.describe_tools),
            ReadLastLines: answering(self.lookup, self.read_last_lines),
        }

    async def describe_tools(self, question: DescribeTools) -> Descriptions:
        if question.tool is not None:
            return Descriptions(tools=(described(await self.lookup.tool(question.tool)),))
        rows = await self.lookup.tables.tools(tool_place(question.after), PAGE + 1)
        page: list[ToolDescription] = []
        size = 0
        for row in rows[:PAGE]:
            tool = described(row)
            size += len(tool.model_dump_json())
            if page and size > MOST_BYTES:
                break
            page.append(tool)
        last = rows[len(page) - 1].entry if len(page) < len(rows) else None
        return Descriptions(tools=tuple(page), next=tool_cursor(last.name, last.id) if last is not None else None)

    async def read_last_lines(self, question: ReadLastLines) -> LastLines:
        tool = (await self.lookup.tool(question.tool)).entry
        lines = [
            PrintedLine(time=line.time, service=service, text=line.text)
            for service, line in await last_lines(self.bus, tool.id, question.lines)
        ]
        return LastLines(id=tool.id, name=tool.name, lines=_that_fit(lines))


def described(row: ToolRow) -> ToolDescription:
    tool = row.entry.tool
    manifest = tool.release.manifest if tool is not None else None
    return ToolDescription(
        tool=tool_shown(row.entry, row.engine, row.under_way),
        category=manifest.category if manifest is not None else None,
        port=tool.port if tool is not None else None,
        created_at=row.entry.created_at,
        manifest=_shown(manifest.model_dump(mode="json")) if manifest is not None else None,
    )


def _shown(manifest: dict[str, Any]) -> dict[str, JsonValue]:
    return {name: _without_secrets(name, value) for name, value in manifest.items()}


def _without_secrets(name: str, value: Any) -> JsonValue:
    """A manifest holds no secrets; where its author wrote one into it all the same, it is not handed on."""
    match value:
        case str() | int() | float() if value and value is not True and is_secret_key(name):
            return MASK
        case str():
            return masked(value)
        case dict():
            return _shown(value)  # pyright: ignore[reportUnknownArgumentType]
        case list():
            return [_without_secrets(name, each) for each in value]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value


def _that_fit(lines: list[PrintedLine]) -> tuple[PrintedLine, ...]:
    """The last of them, up to `MOST_BYTES`."""
    size, first = 0, len(lines)
    while first > 0:
        size += len(lines[first - 1].model_dump_json())
        if size > MOST_BYTES:
            break
        first -= 1
    return tuple(lines[first:])
