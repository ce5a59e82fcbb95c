"""Whoever stops listening to the engine is not told that it has gone."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from services.orchestrator.adapters.feed import with_pauses
from services.orchestrator.domain.failures import EngineAway


@pytest.mark.parametrize("turns", range(5))
async def test_the_engine_breaks_off_in_the_moment_in_which_nobody_listens_any_more(turns: int) -> None:
    """What failed and was looked at by nobody would be logged as an error that nobody foresaw."""
    over, complaints = asyncio.Event(), list[dict[str, Any]]()

    async def chunks() -> AsyncGenerator[bytes]:
        yield b"first"
        await over.wait()
        raise EngineAway("broke off")

    async def listen() -> None:
        async for _ in with_pauses(chunks(), 30):
            pass

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, said: complaints.append(said))
    try:
        listening = asyncio.create_task(listen())
        await asyncio.sleep(0.05)
        over.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        del listening
        gc.collect()
        await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(None)
    assert complaints == []
