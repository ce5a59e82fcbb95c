"""Works that go on side by side, of which one may end the others."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from libs.runtime.cancellation import abandon

Work = Coroutine[Any, Any, None]


async def unless(work: Work, failure: Work) -> None:
    """The work to its end, or broken off as soon as the other one raises; that never returns."""
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(failure)
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        for task in (watching, working):
            if task.done():
                task.result()
    finally:
        await abandon(working, watching)


async def all_of(*works: Work) -> None:
    """All to their end; the first that fails ends the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await abandon(*tasks)
