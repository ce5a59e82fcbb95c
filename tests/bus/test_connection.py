"""What the connection bears that nats-py does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest
from nats.errors import OutboundBufferLimitError

from libs.contracts.letters import DeadLetter
from libs.contracts.principals import Principal
from libs.contracts.queries import AuthenticateToken
from libs.contracts.streams import EVENTS
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.kept_letters import KeptLetter, KeptLetters
from tests.support.stage import Stage, eventually, staged


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


async def test_what_is_asked_while_too_much_waits_for_the_server_is_answered_when_it_is_back(stage: Stage) -> None:
    """Or nobody answers, as long as it is away: never an error that nobody who asks knows of."""
    bus = await stage.bus("witness")
    letter = DeadLetter(
        stream="COMMANDS",
        tool="unknown",
        subject_was="any",
        sequence=1,
        deliveries=1,
        reason="any",
        payload="",
        given_up_at=datetime.now(UTC),
    )
    await stage.server.kill()
    await eventually(lambda: not bus.connected, "the connection is lost")
    await fill(bus)
    waiting = asyncio.create_task(bus.last(EVENTS, "machete.evt.v1.none"))
    with pytest.raises(Unavailable):
        await bus.ask(AuthenticateToken(token="any"), Principal)
    with pytest.raises(Unavailable):
        await KeptLetters(bus).remove(KeptLetter(1, letter))
    assert not waiting.done()
    await stage.server.start()
    assert await waiting is None


async def fill(bus: Bus) -> None:
    """What may wait for a connection, to the last byte."""
    for size in (100_000, 100, 1):
        with pytest.raises(OutboundBufferLimitError):
            await publish_for_ever(bus, b"x" * size)


async def publish_for_ever(bus: Bus, payload: bytes) -> None:
    while True:
        await bus.nats.publish("nobody.hears", payload)
