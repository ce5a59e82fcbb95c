"""Operations that the stream no longer holds leave the tables too: a rebuild would not bring them either."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from libs.contracts.streams import EVENTS
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.logging import get_logger
from services.status.ports import Tables, TablesAway

log = get_logger(__name__)

# Seconds. The stream keeps events for months.
EVERY = 3600.0
# Rows in one transaction, so that nobody waits long for his.
AT_ONCE = 1000


@dataclass(frozen=True)
class Forgetting:
    bus: Bus
    tables: Tables

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            await self.forget()

    async def forget(self) -> None:
        try:
            oldest, count = await self.bus.next(EVENTS, ">", 1), 0
            while oldest is not None and (forgotten := await self.tables.forget(oldest.sequence, AT_ONCE)):
                count += forgotten
        except (Unavailable, TablesAway) as problem:
            log.warning("old operations are forgotten later", problem=repr(problem))
            return
        if count:
            log.info("old operations were forgotten", operations=count)
