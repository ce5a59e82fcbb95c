"""Hands lines over several at a time, so that what is done with each batch is not done for each line."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from libs.runtime.cancellation import abandon

LINES_HELD = 1024


async def in_batches(lines: AsyncIterator[str]) -> AsyncGenerator[list[str], None]:
    """Each batch has all lines that came while the last one was dealt with. A slow reader slows the source."""
    held: list[str] = []
    more, room = asyncio.Event(), asyncio.Event()
    ended = False

    async def collect() -> None:
        nonlocal ended
        try:
            async for line in lines:
                held.append(line)
                more.set()
                if len(held) >= LINES_HELD:
                    room.clear()
                    await room.wait()
        finally:
            ended = True
            more.set()

    collecting = asyncio.ensure_future(collect())
    try:
        while held or not ended:
            await more.wait()
            more.clear()
            batch = held.copy()
            held.clear()
            room.set()
            if batch:
                yield batch
        await collecting
    finally:
        await abandon(collecting)
