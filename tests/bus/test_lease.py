"""A lease has one holder, passes on at once when it is given back, and breaks its block when it is lost."""

from __future__ import annotations

import asyncio

import pytest

from libs.contracts.streams import PRESENCE
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.lease import LeaseLost, lease
from tests.bus.hub import Hub, on_both_servers

KEY = "logs.local"


@on_both_servers
async def test_one_of_many_holds_it_and_all_get_it_in_turn(hub: Hub):
    held: list[str] = []
    most = 0

    async def hold(bus: Bus) -> None:
        nonlocal most
        async with lease(bus, KEY):
            held.append(bus.source)
            most = max(most, len(held))
            await asyncio.sleep(0.1)
            held.remove(bus.source)

    async with hub.connected("orchestrator", "first") as first, hub.connected("orchestrator", "second") as second:
        await asyncio.gather(hold(first), hold(second))
    assert most == 1


@on_both_servers
async def test_who_lost_it_is_told(hub: Hub):
    """Somebody else has it, after this one was silent until it expired."""
    bucket = await hub.witness.jetstream.key_value(PRESENCE.name)

    async def robbed(bus: Bus) -> None:
        async with lease(bus, KEY):
            await bucket.put(KEY, b"second")
            await asyncio.sleep(30)

    async with hub.connected("orchestrator", "first") as bus:
        with pytest.raises(ExceptionGroup) as broken:
            await robbed(bus)
    assert broken.group_contains(LeaseLost)
    assert (await bucket.get(KEY)).value == b"second"


@on_both_servers
async def test_it_is_kept_over_a_restart_of_nats(hub: Hub):
    async with hub.connected("orchestrator", "first") as bus, lease(bus, KEY):
        await hub.server.kill()
        await hub.server.start()
        await asyncio.sleep(4)
        bucket = await hub.witness.jetstream.key_value(PRESENCE.name)
        entry = await bucket.get(KEY)
        assert entry.value == b"first"
        assert (entry.revision or 0) > 1
