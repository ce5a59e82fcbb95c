"""The projection killed, and lost: what it shows is folded from the streams again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.platform import Platform
from tests.support.platform_api import Api, Live
from tests.support.platform_checks import fresh, succeeded
from tests.support.platform_tools import gated, web

Frame = dict[str, Any]


async def everything(api: Api) -> list[Any]:
    """All that the platform shows of its tools and operations."""
    operations = (await api.get("/api/v1/operations", limit=500))["operations"]
    return [
        (await api.get("/api/v1/tools", limit=500))["tools"],
        operations,
        [await api.get(f"/api/v1/operations/{each['id']}") for each in operations],
    ]


async def a_busy_hour(platform: Platform) -> None:
    url = platform.forge.tool("web", web())
    for last in ("stop", "restart", "uninstall"):
        name = fresh("shown")
        install = await platform.api.install(name, url, start=True)
        await succeeded(platform, install, await platform.api.change(last, name))


def lose_tables(platform: Platform) -> None:
    if platform.databases is not None:
        return platform.databases.server.lose(platform.databases.status)
    tables = list(platform.data.rglob("*.db*"))
    assert tables
    for table in tables:
        table.unlink()
    return None


@pytest.mark.parametrize("lost", [False, True], ids=["killed", "killed and its tables lost"])
async def test_a_killed_status_service_shows_the_same_as_before(singles: Platform, lost: bool) -> None:
    await a_busy_hour(singles)
    before = await settled(singles.api)
    await singles.processes["status"].kill()
    if lost:
        lose_tables(singles)
    await singles.processes["status"].start()
    assert await settled(singles.api) == before


async def settled(api: Api) -> list[Any]:
    """As it stays: what the engine is seen to do comes a moment after the operation that made it do so."""
    shown = await everything(api)
    while True:
        await asyncio.sleep(0.3)
        before, shown = shown, await everything(api)
        if shown == before:
            return shown


async def test_a_live_client_goes_on_with_its_cursor_after_the_status_service_was_killed(singles: Platform) -> None:
    gate = fresh("gate")
    install = await singles.api.install(
        fresh("followed"), singles.forge.tool(gate, gated(singles.gate, gate)), start=True
    )
    topic = f"operation:{install.operation}"
    async with singles.api_of("status") as api:
        async with api.live(topic) as live:
            first = await live.until(lambda frame: kind(frame) == "step-ended")
            cursor = live.cursor
            await singles.processes["status"].kill()
        singles.gate.open(gate)
        await succeeded(singles, install)
        await singles.processes["status"].start()
        async with api.live(topic, cursor=cursor) as live:
            rest = await ending(live)
        async with api.live(topic) as live:
            whole = await ending(live)
    assert events([*first, *rest]) == events(whole)
    assert lines([*first, *rest]) == lines(whole)


async def ending(live: Live) -> list[Frame]:
    return await live.until(lambda frame: kind(frame) == "succeeded")


def kind(frame: Frame) -> str:
    return frame["event"]["type"].split(".")[-2] if "event" in frame else ""


def events(frames: list[Frame]) -> list[str]:
    return [frame["event"]["id"] for frame in frames if "event" in frame]


def lines(frames: list[Frame]) -> list[str]:
    return [line["text"] for frame in frames if "log" in frame for line in frame["log"]["lines"]]
