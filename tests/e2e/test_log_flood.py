"""A tool that prints without measure: no memory grows with it, no neighbour suffers, and all is accounted for."""

from __future__ import annotations

import asyncio
from typing import Any

import psutil

from tests.support.platform import Platform
from tests.support.platform_api import Live
from tests.support.platform_checks import fresh
from tests.support.platform_tools import talkative, web

LINES = 200_000
MOST_GROWTH = 150 * 1024 * 1024
WITHIN = 120.0


def memory(platform: Platform) -> int:
    process = psutil.Process(platform.processes["machete"].pid)
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))


def flooding() -> dict[str, bytes]:
    files = web("flood", volumes=["./data:/data"])
    wait = "while [ ! -e /data/go ]; do sleep 0.05; done"
    files["Dockerfile"] = files["Dockerfile"].replace(b"httpd -f", f"({wait}; seq 1 {LINES}) & httpd -f".encode())
    return files


async def read_to_the_end(live: Live) -> tuple[int, int, int]:
    """How many lines came, how many gaps told of, and how many are missing by the numbers that stand in them."""
    came = told = missing = last = 0
    async with asyncio.timeout(WITHIN):
        while last < LINES:
            frame: dict[str, Any] = await live.next(WITHIN)
            told += frame["gap"]["missed"] if "gap" in frame else 0
            for line in frame["log"]["lines"] if "log" in frame else ():
                missing += int(line["text"]) - last - 1
                last = int(line["text"])
                came += 1
    return came, told, missing


async def test_a_flood_of_lines_is_carried_or_counted_and_neither_memory_nor_neighbours_suffer(
    platform: Platform,
) -> None:
    api, flood, calm = platform.api, fresh("flood"), fresh("calm")
    tools = [
        await api.install(name, platform.forge.tool(fresh("repo"), files), start=True)
        for name, files in ((flood, flooding()), (calm, talkative()))
    ]
    for each in tools:
        assert (await api.done(each))["state"] == "succeeded"
    async with api.live(f"logs:{flood}") as live, api.live(f"logs:{calm}") as other:
        before = memory(platform)
        (platform.folder_of(tools[0].tool) / "data" / "data" / "go").touch()
        reading = asyncio.create_task(read_to_the_end(live))
        (platform.folder_of(tools[1].tool) / "data" / "data" / "more").touch()
        await other.until(
            lambda frame: "line 5" in [line["text"] for line in frame.get("log", {}).get("lines", ())], WITHIN
        )
        came, told, missing = await reading
        assert memory(platform) - before < MOST_GROWTH
    assert came + missing == LINES
    assert told == missing
    kept = await api.all_lines(f"/api/v1/tools/{flood}/logs", tail=3)
    assert [line["text"] for line in kept] == [str(number) for number in range(LINES - 2, LINES + 1)]
