"""What the connection bears that nats-py does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tests.support.stage import Stage, eventually, staged


@pytest.fixture
async def stage() -> AsyncGenerator[Stage]:
    async with staged() as stage:
        yield stage


async def test_who_no_longer_waits_for_the_server_costs_nobody_the_connection(stage: Stage) -> None:
    bus = await stage.bus("gateway")
    async with bus.noticing_reconnects() as reconnected:
        stage.server.pause()
        waiting = [asyncio.create_task(bus.flush()) for _ in range(3)]
        await eventually(lambda: len(bus.nats._pongs) >= 3, "all of them have asked the server")  # pyright: ignore[reportPrivateUsage]
        waiting[1].cancel()
        await asyncio.wait(waiting[1:2])
        stage.server.resume()
        await asyncio.gather(waiting[0], waiting[2])
        await bus.flush()
        assert not reconnected.is_set()
    assert waiting[1].cancelled()
