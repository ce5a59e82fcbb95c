"""Taking messages from a consumer: all of them, at once, over every outage, and without piling up requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from libs.contracts.streams import COMMANDS, Consumer
from libs.runtime.bus import intake
from libs.runtime.bus.delivery import Delivery
from libs.runtime.bus.intake import Intake
from tests.bus.hub import TIMING, Hub, on_both_servers
from tests.bus.sketch import command

ORCHESTRATOR = COMMANDS.consumers[1]


class Taken:
    """What came, in the order in which it came."""

    def __init__(self) -> None:
        self.sequences: list[int] = []

    async def handle(self, delivery: Delivery) -> None:
        self.sequences.append(delivery.sequence)
        await delivery.ack()


@asynccontextmanager
async def taking(hub: Hub, consumer: Consumer = ORCHESTRATOR) -> AsyncGenerator[Taken]:
    taken = Taken()
    running = asyncio.create_task(Intake(hub.witness, COMMANDS, consumer, TIMING, taken.handle).run())
    try:
        yield taken
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def waiting_requests(hub: Hub) -> int:
    return (await hub.consumer("orchestrator")).num_waiting or 0


@on_both_servers
async def test_messages_are_taken_in_order_as_they_come_over_many_requests(hub: Hub):
    async with taking(hub) as taken:
        sent = [await hub.submit(command("start", "lathe-aaaaaa", "lathe"), accept=False) for _ in range(70)]
        await hub.empty()
        sent += [await hub.submit(command("start", "lathe-bbbbbb", "lathe"), accept=False) for _ in range(70)]
        await hub.empty()
    assert taken.sequences == sent


async def test_a_request_that_outlived_a_reconnection_is_not_renewed_for_ever(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
):
    """Requests are shared out among all replicas and limited in number: forgotten ones take them from others."""
    monkeypatch.setattr(intake, "EXPIRES", 2.5)
    async with taking(hub) as taken:

        async def asked() -> bool:
            return await waiting_requests(hub) == 1

        await hub.eventually(asked, "it asks for messages")
        for _ in range(5):
            hub.witness.reconnected()
            await asyncio.sleep(0.05)
        assert await waiting_requests(hub) > 1
        await asyncio.sleep(3)
        await hub.eventually(asked, "only one request is left")
        await hub.submit(command("start", "lathe-aaaaaa", "lathe"), accept=False)
        await hub.empty()
    assert len(taken.sequences) == 1
