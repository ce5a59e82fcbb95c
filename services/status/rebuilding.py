"""Making the tables anew while the old ones are shown: asked for once, carried out by one replica, whoever dies.

The row of the rebuild says who carries it out. A replica that sees no progress of another takes over, from where that
one stood; each change asks first whether the rebuild is still one's own, so two of them do no harm.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from libs.contracts.names import random_word
from libs.contracts.queries import Question, RebuildTables, ShowRebuild
from libs.contracts.source import shown
from libs.contracts.streams import EVENTS, STATES
from libs.contracts.views import RebuildView
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.refilling import between, refill
from libs.runtime.bus.signals import woken
from libs.runtime.bus.stored import Kept
from libs.runtime.logging import get_logger
from services.status.domain.entries import RebuildEntry
from services.status.domain.showing import rebuild_shown
from services.status.handlers import Respond, told
from services.status.lookup import Refused
from services.status.ports import Overtaken, Rebuild, Rebuilds, SecondTables, TablesAway
from services.status.progress import Progress

log = get_logger(__name__)

# Seconds.
LOOK = 2.0
RETRY = 1.0
CATCH_UP = 0.05
BRING_WITHIN = 3.0


@dataclass
class Rebuilding:
    """`abandoned_after`: seconds without progress after which another worker's rebuild is taken over."""

    bus: Bus
    rebuilds: Rebuilds
    progress: Progress
    second: Callable[[str], AbstractAsyncContextManager[SecondTables]]
    worker: str
    abandoned_after: float
    _asked: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: tuple[Rebuild, float] | None = None

    def table(self) -> Mapping[type[Question], Respond]:
        """Answered also while the tables are not up to date: that may be why somebody asks."""
        return {RebuildTables: told(self.begin), ShowRebuild: told(self.show)}

    async def begin(self, question: RebuildTables) -> RebuildView:
        fresh = RebuildEntry(
            id=f"rb-{random_word(12)}", requested_by=question.requested_by.label, begun_at=datetime.now(UTC)
        )
        entry = await self.rebuilds.begin(fresh, self.worker)
        self._asked.set()
        return rebuild_shown(entry)

    async def show(self, question: ShowRebuild) -> RebuildView:
        last = await self.rebuilds.last()
        if last is None or last.entry.id != question.rebuild:
            said = f"There is no rebuild {shown(question.rebuild)}; only the last one is kept."
            raise Refused(404, "rebuild_not_found", said)
        return rebuild_shown(last.entry)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._asked.clear()
            try:
                found = await self._mine()
                if found is not None:
                    await self._carry_out(found.entry)
            except (Unavailable, TablesAway) as problem:
                log.warning("the rebuild waits", problem=str(problem))
                await asyncio.sleep(RETRY)
            except Overtaken:
                log.info("the rebuild is another worker's now, or over")
            except Exception as problem:
                log.exception("the rebuild broke")
                await self._fail(f"{type(problem).__name__}: {problem}")
            else:
                await woken(self._asked, LOOK)

    async def _mine(self) -> Rebuild | None:
        """The rebuild that is to be carried out here."""
        found = await self.rebuilds.last()
        if found is None or found.entry.state != "running":
            if found is not None and found.entry.state == "succeeded":
                self.progress.rebuilt = found.entry.id
            return None
        if found.worker == self.worker:
            return found
        now = time.monotonic()
        if self._seen is None or self._seen[0] != found:
            self._seen = found, now
        if now - self._seen[1] < self.abandoned_after:
            return None
        log.warning("taking over a rebuild that nobody carries on", rebuild=found.entry.id)
        return found if await self.rebuilds.take_over(found, self.worker) else None

    async def _carry_out(self, entry: RebuildEntry) -> None:
        log.info("the tables are made anew", rebuild=entry.id)
        async with self.second(self.worker) as second:
            done = None
            while done is None:
                await refill(self.bus, EVENTS, STATES, second)
                done = await second.change_over(self._bring(asyncio.get_running_loop()))
                if done is None:
                    await asyncio.sleep(CATCH_UP)
            log.info("the tables were made anew", **done.model_dump(mode="json", exclude={"reason", "state"}))

    def _bring(self, loop: asyncio.AbstractEventLoop) -> Callable[[int, int], Sequence[Kept]]:
        def bring(after: int, last: int) -> Sequence[Kept]:
            reading = asyncio.run_coroutine_threadsafe(between(self.bus, EVENTS, after, last), loop)
            try:
                return reading.result(BRING_WITHIN)
            except TimeoutError:
                reading.cancel()
                raise Unavailable(
                    f"NATS did not bring events {after + 1} to {last} within {BRING_WITHIN:g} s"
                ) from None

        return bring

    async def _fail(self, reason: str) -> None:
        try:
            await self.rebuilds.fail(self.worker, reason)
        except (TablesAway, Overtaken) as problem:
            log.warning("nobody can be told that the rebuild broke", problem=repr(problem))
            await asyncio.sleep(RETRY)
