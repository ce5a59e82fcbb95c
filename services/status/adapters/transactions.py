"""One thread over one connection, so that the event loop never waits for a disk or a network.

What breaks is opened anew at the next use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from libs.runtime import metrics
from services.status.adapters.databases import Database, Opened, is_locked
from services.status.ports import TablesAway

log = structlog.get_logger(__name__)

_ERRORS = metrics.database_errors.labels("status")

# Seconds. Who asks a question waits less long than the projection, which has nothing else to do.
READ_PATIENCE = 4.0
CHANGE_PATIENCE = 30.0
PROBE_PATIENCE = 1.0
LOCKED_PAUSE = 0.05

Result = TypeVar("Result")


class TablesLocked(TablesAway):
    """Another process writes; nothing is wrong unless it lasts."""


class Transactions:
    """Opens the database at first use; `close` ends its thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, "status-tables")
        self._opened: Opened | None = None
        self._over = False

    @property
    def label(self) -> str:
        return self._database.label

    async def close(self) -> None:
        """Cuts off what does not end by itself: no server may keep a process from stopping."""
        self._over = True
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        _, hanging = await asyncio.wait([closing], timeout=PROBE_PATIENCE)
        if hanging:
            self._database.cut()
        self._thread.shutdown(wait=False, cancel_futures=not hanging)

    async def change(self, work: Callable[[Connection], Result]) -> Result:
        """May be done twice, when nobody knows whether the first time was stored."""
        clock = asyncio.get_running_loop()
        give_up = clock.time() + CHANGE_PATIENCE
        while True:
            try:
                return await self.run(work, CHANGE_PATIENCE, reading=False)
            except TablesLocked:
                if clock.time() > give_up:
                    raise
                await asyncio.sleep(LOCKED_PAUSE)

    async def run(self, work: Callable[[Connection], Result], patience: float, *, reading: bool) -> Result:
        """In one transaction, in the thread. Raises `TablesAway`, also after so many seconds."""
        try:
            async with asyncio.timeout(patience):
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work, reading)
        except TimeoutError:
            raise TablesAway(f"the status database ({self.label}) gave no answer within {patience:g} s") from None

    def _transaction(self, work: Callable[[Connection], Result], reading: bool) -> Result:
        try:
            try:
                return self._attempt(work, reading)
            except DBAPIError as problem:
                if self._over or not problem.connection_invalidated:
                    raise
                log.info("the connection to the status database was lost; it is opened again", database=self.label)
                return self._attempt(work, reading)
        except DBAPIError as problem:
            kind = TablesLocked if is_locked(problem) else TablesAway
            reason = str(problem.orig).strip().partition("\n")[0]
            raise kind(f"the status database ({self.label}) cannot be used now: {reason}") from problem
        except OSError as problem:
            raise TablesAway(f"the status database ({self.label}) cannot be used now: {problem.strerror}") from problem

    def _attempt(self, work: Callable[[Connection], Result], reading: bool) -> Result:
        opened = self._opened = self._opened or self._database.open()
        try:
            with (opened.reading if reading else opened.changing).begin() as connection:
                return work(connection)
        except DBAPIError as problem:
            _ERRORS.inc()
            if not is_locked(problem):
                self._close()
            raise
        except TablesAway:
            self._close()
            raise

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None
