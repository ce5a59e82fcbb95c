"""How many tools there are in which state, for Prometheus: counted anew only when something has happened."""

from __future__ import annotations

from collections import Counter

from libs.contracts.tools import ToolState
from libs.runtime import metrics
from libs.runtime.scrape import Reading
from services.status.domain.showing import tool_shown
from services.status.ports import Tables
from services.status.progress import Progress

PAGE = 200


class Census:
    def __init__(self, tables: Tables, progress: Progress) -> None:
        self._tables = tables
        self._progress = progress
        self._at: tuple[int, str | None] | None = None
        self._counted = Counter[ToolState]()

    async def look(self) -> list[Reading]:
        """Nothing before the tables hold all that happened: what they show until then never was."""
        if not self._progress.complete:
            return []
        at = self._progress.position, self._progress.rebuilt
        if at != self._at:
            self._counted = await self._count()
            self._at = at
        return [(metrics.tools, (str(state),), self._counted[state]) for state in ToolState]

    async def _count(self) -> Counter[ToolState]:
        counted = Counter[ToolState]()
        after = ("", "")
        while rows := await self._tables.tools(after, PAGE):
            counted.update(tool_shown(row.entry, row.engine, row.under_way).state for row in rows)
            after = (rows[-1].entry.name, rows[-1].entry.id)
        return counted
