"""A build that has to wait for another one says so, and nothing else waits with it."""

from __future__ import annotations

from pathlib import Path

from tests.support.platform import Platform, whole_platform
from tests.support.platform_api import Accepted
from tests.support.platform_checks import fresh
from tests.support.platform_tools import gated, web
from tests.support.platform_waiting import until


async def says(platform: Platform, accepted: Accepted, text: str) -> None:
    path = f"/api/v1/operations/{accepted.operation}/log"

    async def look() -> bool:
        return text in [line["text"] for line in await platform.api.all_lines(path)]

    await until(look, f"{accepted.operation} says {text!r}")


async def test_a_build_without_a_slot_says_so_can_be_cancelled_and_holds_up_nothing_else(tmp_path: Path) -> None:
    async with whole_platform(tmp_path, {"MACHETE_BUILD_SLOTS": "1"}) as platform:
        api, forge, gate = platform.api, platform.forge, fresh("gate")
        done = await api.install("other", forge.tool("other", web()), start=True)
        assert (await api.done(done))["state"] == "succeeded"
        first = await api.install("first", forge.tool("first", gated(platform.gate, gate)))
        await platform.gate.reached(gate)
        second = await api.install("second", forge.tool("second", web("second")))
        await says(platform, second, "waits for a free build slot, 0 before it (1 build runs)")
        third = await api.install("third", forge.tool("third", web("third")))
        await says(platform, third, "waits for a free build slot, 1 before it (1 build runs)")
        for action in ("restart", "stop", "start"):
            assert (await api.done(await api.change(action, "other")))["state"] == "succeeded"
        # What is built already needs no slot.
        assert (await api.done(await api.build("other")))["state"] == "succeeded"
        await api.cancel(second.operation)
        assert (await api.done(second))["state"] == "cancelled"
        await says(platform, third, "waits for a free build slot, 0 before it (1 build runs)")
        platform.gate.open(gate)
        for each in (first, third):
            assert (await api.done(each))["state"] == "succeeded"
