"""Makes `asyncio.wait_for` keep cancellations on Python 3.11.

There, a task cancelled in the very moment in which what it waits for is done gets the result and never
hears of the cancellation (fixed in Python 3.12, where `wait_for` stands on `asyncio.timeout`). nats-py waits
for every answer with it, so about one cancelled operation in ten went on for ever. Our own code uses
`asyncio.timeout`; this is for the libraries below it.
"""

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

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
