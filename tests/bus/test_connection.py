"""What the connection bears that nats-py does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tests.support.stage import Stage, staged


@pytest.fixture
async def stage() -> AsyncGenerator[Stage]:
    async with staged() as stage:
        yield stage


async def test_who_no_longer_waits_for_the_server_costs_nobody_the_connection(stage: Stage) -> None:
    bus = await stage.bus("gateway")
    async with bus.noticing_reconnects() as reconnected:
        stage.server.pause()
        waiting: list[asyncio.Task[None]] = []
        while len(bus.nats._pongs) < 3:  # pyright: ignore[reportPrivateUsage]
            waiting.append(asyncio.create_task(bus.flush()))  # the first may still be answered
            await asyncio.sleep(0.05)
        given_up = waiting.pop(-2)
        given_up.cancel()
        await asyncio.wait({given_up})
        stage.server.resume()
        await asyncio.gather(*waiting)
        await bus.flush()
        assert not reconnected.is_set()
    assert given_up.cancelled()


@pytest.mark.parametrize("before", ["silent", "dead"])
async def test_who_waits_for_a_server_that_dies_is_answered_by_its_next_life(stage: Stage, before: str) -> None:
    bus = await stage.bus("gateway")
    if before == "silent":
        stage.server.pause()
    else:
        await stage.server.kill()
    waiting = [asyncio.create_task(bus.flush()) for _ in range(3)]
    await asyncio.sleep(0.2)
    await stage.server.kill()
    await stage.server.start()
    async with asyncio.timeout(60):
        await asyncio.gather(*waiting)
        await bus.flush()
