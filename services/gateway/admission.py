"""Lets commands in up to the limits, and tells whoever is turned away when to come again.

What waits is heard of, and the stream is looked at now and then for what was not heard; several gateways so come to
the same counts, and a new one to those of the others. Before anybody is turned away the stream is asked: nobody hears
of a queue that is not there. The limits can be passed by what several gateways accept in the same instant; the
stream's own, which are higher, cannot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import get_args

from libs.contracts.operations import OperationAccepted
from libs.contracts.streams import WAITING_IN_ALL, WAITING_PER_TOOL
from libs.runtime import metrics
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.records import Record
from libs.runtime.bus.waiting import WaitingCommands
from libs.runtime.cancellation import abandon
from libs.runtime.http.problems import Problem
from libs.runtime.logging import get_logger
from services.gateway import problems
from services.gateway.domain.requests import Request
from services.gateway.domain.waiting import Entry, Limits, Place, Scope, Waiting

LOOK = 2.0
BOUNDS = Limits(tool=WAITING_PER_TOOL, principal=WAITING_IN_ALL, platform=WAITING_IN_ALL)
"""The stream's own, which stand above all that can be set; that of a tool is of commands of one kind."""

log = get_logger(__name__)


class Admission:
    """Runs beside the gateway; `room` is asked for by each request."""

    def __init__(self, bus: Bus, limits: Limits) -> None:
        self._bus = bus
        self._commands = WaitingCommands(bus)
        self._limits = limits
        self._waiting = Waiting()
        self._heard: set[str] = set()
        self._suspected: set[str] = set()
        for scope in get_args(Scope):
            metrics.turned_away.labels(scope)  # counted from 0

    @asynccontextmanager
    async def standing(self) -> AsyncGenerator[None]:
        async with self._commands.heard(self._hear_accepted, self._hear_ended, self._waiting.__contains__):
            looking = asyncio.create_task(self._look_for_ever())
            try:
                yield
            finally:
                await abandon(looking)

    @asynccontextmanager
    async def room(self, request: Request, tool: str | None = None) -> AsyncGenerator[None]:
        """Counts the request from here on, for as long as its command waits. Raises `Problem` (too_many_waiting)."""
        entry = Entry(request.by.label, tool, stored=False, urgent=bool(request.options.get("now")))
        if request.operation not in self._waiting:
            for place in self._waiting.crowded(entry, self._limits):
                await self._refuse_if_true(request.operation, place)
            self._waiting.enter(request.operation, entry, _now())
        try:
            yield
        finally:
            self._waiting.leave_unless_stored(request.operation)

    async def _refuse_if_true(self, operation: str, place: Place) -> None:
        """Raises if the stream has as many, or is about to. No principal has more in it than it holds of all."""
        scope, who = place
        stored = await self._commands.stored(who if scope == "tool" else None)
        if stored.total() + self._waiting.on_their_way(place) < self._limits.of(scope):
            return
        metrics.turned_away.labels(scope).inc()
        raise problems.too_many_waiting(self._waiting.turned_away(operation, place, self._limits, _now()))

    def full(self, request: Request, tool: str | None = None) -> Problem:
        """For what the stream itself refused: it takes no more in all or, with a tool, no more of this for that one."""
        place: Place = ("platform", "") if tool is None else ("tool", tool)
        metrics.turned_away.labels(place[0]).inc()
        return problems.queue_full(self._waiting.turned_away(request.operation, place, BOUNDS, _now()), request.action)

    def accepted(self, record: Record) -> None:
        """What a request became, which may have ended long ago."""
        if record.accepted is None or record.ended is not None:
            return
        self._waiting.stored(record.accepted.operation, record.accepted.tool, _now())
        self._heard.add(record.accepted.operation)

    def _hear_accepted(self, event: OperationAccepted) -> None:
        entry = Entry(event.requested_by.label, event.tool, stored=True)
        self._waiting.enter(event.operation, entry, _now())
        self._heard.add(event.operation)

    def _hear_ended(self, operation: str) -> None:
        self._waiting.ended(operation, _now())
        self._heard.add(operation)

    async def _look_for_ever(self) -> None:
        async with self._bus.noticing_reconnects() as reconnected:
            while True:
                try:
                    await self._look()
                except Unavailable as problem:
                    log.debug("the queue of commands cannot be looked at", problem=str(problem))
                except Exception:
                    log.exception("looking at the queue of commands broke; it is looked at again")
                try:
                    async with asyncio.timeout(LOOK):
                        await reconnected.wait()
                except TimeoutError:
                    continue
                reconnected.clear()

    async def _look(self) -> None:
        """A tool that differs twice running is counted anew: once may be what is on its way."""
        differing = self._waiting.differing(await self._commands.stored())
        for tool in sorted(differing & self._suspected):
            self._heard.clear()
            commands = await self._commands.of(tool)
            found = {each.operation: Entry(each.requested_by.label, tool, stored=True) for each in commands}
            self._waiting.correct(tool, found, self._heard, _now())
        self._heard.clear()
        self._suspected = differing


def _now() -> float:
    return asyncio.get_running_loop().time()
