"""A cancellation is heard of by whom it is for, and by nobody else.

`keep_cancellations` is for `asyncio.wait_for` on Python 3.11: there, a task cancelled in the very moment in which what
it waits for is done gets the result and never hears of the cancellation (fixed in Python 3.12, where `wait_for` stands
on `asyncio.timeout`). nats-py waits for every answer with it, so about one cancelled operation in ten went on for ever.
Our own code uses `asyncio.timeout`; this is for the libraries below it.

`lasting` is for futures that several wait for: who is cancelled there cancels the future, and with it all others.
nats-py has such ones. A task group takes a task that ended so for one that was told to, and goes on without it.
"""

import asyncio
import sys
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def _wait_for(fut: Awaitable[Result], timeout: float | None) -> Result:
    """As in Python 3.12: raises `TimeoutError` after `timeout` seconds, and `CancelledError` whenever cancelled."""
    future = asyncio.ensure_future(fut)
    try:
        async with asyncio.timeout(timeout):
            return await future
    finally:
        if not future.done():
            future.cancel()


def keep_cancellations() -> None:
    """Safe to call again; does nothing from Python 3.12 on."""
    if sys.version_info < (3, 12):
        asyncio.wait_for = _wait_for  # pyright: ignore[reportAttributeAccessIssue]


class CancelledByNobody(Exception):
    """Something that was waited for was cancelled, and with it what was to go on; the text says what that is."""


def told_to_end() -> bool:
    """Whether the task that runs was cancelled itself, and not only what it waited for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def abandon(*tasks: asyncio.Future[Any]) -> None:
    """Broken off, and ended when this returns; what became of them, a failure in that same moment too, is nobody's."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def lasting(work: Coroutine[Any, Any, Result]) -> Result:
    """For a task that goes on until it is told to end. Raises `CancelledByNobody` where it is cancelled otherwise."""
    try:
        return await work
    except asyncio.CancelledError as problem:
        if told_to_end():
            raise
        raise CancelledByNobody(f"{work.__qualname__} was cancelled together with what it waited for") from problem
