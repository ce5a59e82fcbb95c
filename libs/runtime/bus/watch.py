"""Work on an operation goes on only while the record and the clock allow it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.operation import Away, CancelSeen, DeadlinePassed, FencedOff, Interrupted, Operation
from libs.runtime.bus.signals import woken
from libs.runtime.cancellation import abandon

log = structlog.get_logger(__name__)

Result = TypeVar("Result")


async def under_watch(act: Callable[[], Awaitable[Result]], operation: Operation) -> Result:
    """What `act` returns or raises; or, after it has been broken off, why: `CancelSeen`, `FencedOff`,
    `DeadlinePassed` or `Interrupted`.

    `Away` is answered by calling it again, until one of these ends it: what is broken off may clean up, and no more.
    """
    work = asyncio.ensure_future(_persistently(act, operation))
    watches = {asyncio.create_task(_broken_off(operation)), asyncio.create_task(_fallen_silent(operation))}
    try:
        done, _ = await asyncio.wait({work, *watches}, return_when=asyncio.FIRST_COMPLETED)
        if work in done:
            return work.result()
        await abandon(work)
        raise next(watch.result() for watch in watches if watch in done)
    finally:
        await abandon(work, *watches)


async def _persistently(act: Callable[[], Awaitable[Result]], operation: Operation) -> Result:
    while True:
        try:
            return await act()
        except Away as away:
            if (work := asyncio.current_task()) is not None and work.cancelling():
                raise  # it was cleaning up, and nobody watches it any more
            await operation.say(f"waiting: {away}")
            await asyncio.sleep(operation.timing.retry)


async def _broken_off(operation: Operation) -> Exception:
    """Returns why the work must stop, when it must."""
    with operation.signals.of(operation.id) as event:
        while True:
            event.clear()
            left = operation.seconds_left
            if left <= 0 and not operation.relentless:
                return DeadlinePassed(operation.id)
            await woken(event, min(operation.timing.poll, max(left, 0.05)))
            try:
                await operation.guard()
            except (FencedOff, CancelSeen) as verdict:
                return verdict
            except Unavailable:
                log.warning("the record cannot be read; going on")


async def _fallen_silent(operation: Operation) -> Exception:
    """Returns when the server may take us for dead: whoever has the work next must be alone with it.

    Not left to the reading of the record, which may hang on the same line as the heartbeats.
    """
    while True:
        if operation.lapsed():
            return Interrupted(operation.id)
        await asyncio.sleep(operation.timing.heartbeat / 2)
