"""Writes down in each tool's folder what its last record says of it, for when the streams are lost."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from libs.contracts.streams import STATES
from libs.contracts.tools import ToolRecorded
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.reader import Replaced, read
from libs.runtime.bus.stored import Kept
from services.orchestrator.ports import KeptTools

log = structlog.get_logger(__name__)

RETRY = 1.0


@dataclass(frozen=True)
class Keeper:
    """Each replica does all of it: the same is written whoever does, and what is written already stays."""

    bus: Bus
    kept: KeptTools

    async def run(self) -> None:
        """Until cancelled. A folder that cannot be written is written at the tool's next record, or the next start."""
        while True:
            try:
                async with aclosing(read(self.bus, STATES, STATES.subjects, 0)) as states:
                    async for item in states:
                        if isinstance(item, Kept):
                            await self._keep(item)
            except Replaced as problem:
                log.warning("what is known of the tools is looked at anew", problem=str(problem))
                await asyncio.sleep(RETRY)

    async def _keep(self, item: Kept) -> None:
        recorded = item.message()
        if not isinstance(recorded, ToolRecorded):
            return
        try:
            if recorded.state is None:
                await self.kept.forget(recorded.tool)
            else:
                await self.kept.put(recorded.state)
        except OSError as problem:
            log.error("what is known of a tool cannot be kept in its folder", tool=recorded.tool, problem=str(problem))
