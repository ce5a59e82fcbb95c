"""What happens, live over a WebSocket: nothing missed, nothing twice, over any break."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.support.platform import Platform
from tests.support.platform_api import Api, Live
from tests.support.platform_checks import fresh
from tests.support.platform_tools import gated, talkative, web
from tests.support.platform_waiting import until

Frame = dict[str, Any]


def kinds(frames: Iterable[Frame]) -> list[str]:
    """`machete.operation.started.v1` as `started`."""
    return [frame["event"]["type"].split(".")[-2] for frame in frames if "event" in frame]


def ids(frames: Iterable[Frame]) -> list[str]:
    return [frame["event"]["id"] for frame in frames if "event" in frame]


def texts(frames: Iterable[Frame]) -> list[str]:
    return [line["text"] for frame in frames if "log" in frame for line in frame["log"]["lines"]]


def ended(operation: str) -> Any:
    def is_end(frame: Frame) -> bool:
        event = frame.get("event", {})
        return event.get("subject", "").endswith(f".operation.{operation}") and event["type"].split(".")[-2] in (
            "succeeded",
            "failed",
            "cancelled",
        )

    return is_end


async def test_one_operation_is_told_from_its_beginning_with_its_lines_to_its_end(platform: Platform, api: Api) -> None:
    install = await api.install(fresh("told"), platform.forge.tool("web", web()), start=True)
    async with api.live(f"operation:{install.operation}") as live:
        frames = await live.until(ended(install.operation))
    told = kinds(frames)
    assert [kind for kind in told if kind in ("accepted", "started", "succeeded")] == [
        "accepted",
        "started",
        "succeeded",
    ]
    steps = [frame["event"]["data"]["step"] for frame in frames if "step" in frame.get("event", {}).get("data", {})]
    assert steps == ["fetch", "fetch", "build", "build", "start", "start"]
    for frame in frames:
        assert set(frame) == {"cursor", "event"} or set(frame) == {"cursor", "log"}
        if "event" in frame:
            assert frame["event"]["specversion"] == "1.0"
    logged = await api.all_lines(f"/api/v1/operations/{install.operation}/log")
    assert texts(frames) == [line["text"] for line in logged]
    async with api.live(f"operation:{install.operation}") as late:
        again = await late.until(ended(install.operation))
    assert (ids(again), texts(again)) == (ids(frames), texts(frames))


async def test_a_client_that_comes_back_with_its_cursor_goes_on_without_gap_or_repeat(
    platform: Platform, api: Api
) -> None:
    """Broken off again and again at every place, beside one that stays."""
    gate = fresh("gate")
    install = await api.install(fresh("broken"), platform.forge.tool(gate, gated(platform.gate, gate)), start=True)
    topic = f"operation:{install.operation}"
    async with api.live(topic) as steady:
        whole = asyncio.create_task(steady.until(ended(install.operation)))
        pieces: list[Frame] = []
        cursor: str | None = None
        opening = asyncio.create_task(open_when_reached(platform, gate))
        while not pieces or not ended(install.operation)(pieces[-1]):
            async with api.live(topic, cursor=cursor) as live:
                for _ in range(2):
                    pieces.append(await live.next())
                    if ended(install.operation)(pieces[-1]):
                        break
                cursor = live.cursor
        await opening
        frames = await whole
    assert ids(pieces) == ids(frames)
    assert texts(pieces) == texts(frames)
    assert not [frame for frame in pieces if "gap" in frame]


async def open_when_reached(platform: Platform, gate: str) -> None:
    await platform.gate.reached(gate)
    await asyncio.sleep(0.3)
    platform.gate.open(gate)


async def test_all_tools_are_followed_at_once_and_what_happened_while_away_is_caught_up(
    platform: Platform, api: Api
) -> None:
    url = platform.forge.tool("web", web())
    async with api.live("tools") as live:
        first = await api.install(fresh("seen"), url)
        await live.until(ended(first.operation))
        cursor = live.cursor
    second = await api.install(fresh("unseen"), url, start=True)
    await api.done(second)
    third = await api.uninstall(second.body["operation"]["tool_name"])
    await api.done(third)
    async with api.live("tools", cursor=cursor) as live:
        frames = await live.until(ended(third.operation))
    mine = [frame for frame in frames if second.tool in frame["event"]["subject"]]
    assert [kind for kind in kinds(mine) if kind in ("accepted", "succeeded")] == ["accepted", "succeeded"] * 2
    assert not [frame for frame in frames if first.operation in frame["event"]["subject"]]
    assert len(set(ids(frames))) == len(frames)


async def test_a_tool_s_lines_come_as_it_prints_them_and_go_on_after_a_break(platform: Platform, api: Api) -> None:
    install = await api.install(fresh("talks"), platform.forge.tool("talks", talkative()), start=True)
    await api.done(install)
    name = install.body["operation"]["tool_name"]
    more = platform.folder_of(install.tool) / "data" / "data" / "more"
    async with api.live(f"logs:{name}") as live:
        more.touch()
        first = await says(live, "line 5")
        cursor = live.cursor
    more.touch()
    async with api.lines(f"/api/v1/tools/{name}/logs", follow=True) as lines:
        async for line in lines:
            if line["text"] == "line 6":
                break
    async with api.live(f"logs:{name}", cursor=cursor) as live:
        more.touch()
        rest = await says(live, "line 7")
    assert [*texts(first)[-1:], *texts(rest)] == ["line 5", "line 6", "line 7"]


async def says(live: Live, text: str) -> list[Frame]:
    return await live.until(lambda frame: text in texts([frame]))


async def test_the_log_of_a_container_in_another_s_place_is_read_from_its_beginning_and_nothing_is_said_to_lack(
    platform: Platform, api: Api
) -> None:
    install = await api.install(fresh("talks"), platform.forge.tool("talks", talkative(2)), start=True)
    await api.done(install)
    name = install.body["operation"]["tool_name"]
    path = f"/api/v1/tools/{name}/logs"

    async def printed() -> list[str]:
        return [line["text"] for line in await api.all_lines(path)]

    async def first() -> bool:
        return await printed() == ["line 0", "line 1"]

    await until(first, "the first container's lines are kept")
    await platform.hand.remove(install.tool)
    await api.done(await api.start(name))

    async def second() -> bool:
        return len(await printed()) >= 4

    await until(second, "the second container's lines are kept")
    assert await printed() == ["line 0", "line 1"] * 2


async def test_a_tool_s_log_is_read_whole_by_its_tail_and_followed(platform: Platform, api: Api) -> None:
    install = await api.install(fresh("talks"), platform.forge.tool("talks", talkative()), start=True)
    await api.done(install)
    path = f"/api/v1/tools/{install.body['operation']['tool_name']}/logs"
    more = platform.folder_of(install.tool) / "data" / "data" / "more"
    seen: list[str] = []
    async with api.lines(path, follow=True) as lines:
        async for line in lines:
            assert set(line) == {"number", "time", "service", "text"}
            seen.append(line["text"])
            if line["text"] == "line 4":
                more.touch()
            if line["text"] == "line 5":
                break
    assert seen == [f"line {number}" for number in range(6)]
    assert [line["text"] for line in await api.all_lines(path)] == seen
    assert [line["text"] for line in await api.all_lines(path, tail=2)] == ["line 4", "line 5"]
    async with api.lines(path, follow=True, tail=1) as lines:
        more.touch()
        async for line in lines:
            seen.append(line["text"])
            if line["text"] == "line 6":
                break
    assert seen[-2:] == ["line 5", "line 6"]


async def test_nobody_listens_without_the_token(api: Api) -> None:
    stranger = Api(str(api.client.base_url), "wrong-token-that-nobody-has-made-000000")
    with pytest.raises(InvalidStatus, match="401"):
        async with stranger, stranger.live("tools"):
            raise AssertionError("let in")
