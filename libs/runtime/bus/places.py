"""Bounds how many commands of each action one worker carries out at the same time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from libs.contracts.tools import ToolCommand
from libs.runtime.bus.records import Records
from libs.runtime.bus.signals import Signals, woken

# Seconds after which a cancel request is found that nobody was heard to make.
UNHEARD = 5.0


class Places:
    """`most` for each action: no stop waits behind builds, or behind what is slow to start."""

    def __init__(self, records: Records, signals: Signals, most: int) -> None:
        self._records = records
        self._signals = signals
        self._free: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(most))

    @asynccontextmanager
    async def one(self, command: ToolCommand) -> AsyncGenerator[None]:
        """What is cancelled while it waits goes on without one, since it only ends."""
        free = self._free[command.action]
        if free.locked():
            taken = await self._unless_cancelled(command, free)
        else:
            taken = await free.acquire()
        try:
            yield
        finally:
            if taken:
                free.release()

    async def _unless_cancelled(self, command: ToolCommand, free: asyncio.Semaphore) -> bool:
        """Whether a place was taken; False: the record asks for an end."""
        taking = asyncio.create_task(free.acquire())
        try:
            with self._signals.of(command.operation) as event:
                while not taking.done():
                    event.clear()
                    await _first(taking, asyncio.create_task(woken(event, UNHEARD)))
                    if not taking.done() and await self._is_cancelled(command):
                        break
        except BaseException:
            if not await _given_up(taking):
                free.release()
            raise
        return not await _given_up(taking)

    async def _is_cancelled(self, command: ToolCommand) -> bool:
        return (await self._records.read(command.tool, command.operation)).cancel is not None


async def _first(taking: asyncio.Task[bool], signalled: asyncio.Task[None]) -> None:
    try:
        await asyncio.wait({taking, signalled}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        signalled.cancel()


async def _given_up(taking: asyncio.Task[bool]) -> bool:
    """Whether it was not taken, and will not be."""
    taking.cancel()
    await asyncio.wait({taking})
    return taking.cancelled()
