"""What somebody does to a container by hand shows, soon after the engine says that it happened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from libs.contracts.engines import ToolObserved
from libs.contracts.streams import EVENTS
from libs.contracts.subjects import TOOL_ENGINE
from tests.support.platform import Platform
from tests.support.platform_api import Api
from tests.support.platform_checks import fresh
from tests.support.platform_engine import Happened
from tests.support.platform_tools import dies_after, web
from tests.support.platform_waiting import until

# Seconds from the engine's event to ours on a machine with little to do; a loaded one gets ten times as many.
SOON = 1.0


async def tool_in(platform: Platform, state: str) -> tuple[str, str]:
    """The name and id of a tool in this state."""
    name = fresh("tool")
    install = await platform.api.install(name, platform.forge.tool("web", web()), start=state == "running")
    await platform.api.done(install)
    assert (await platform.api.tool(name))["state"] == state
    return name, install.tool


async def shows(api: Api, name: str, state: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        tool = await api.tool(name)
        return tool if tool["state"] == state else None

    return await until(look, f"{name} is shown as {state}")


async def delay(platform: Platform, tool: str, happened: list[Happened], action: str) -> float:
    """Seconds from the engine's own time of what it did to our saying so."""
    event = await until(
        lambda: next((each for each in happened if (each.tool, each.action) == (tool, action)), None), action
    )

    async def said() -> float | None:
        kept = await platform.bus.next(EVENTS, TOOL_ENGINE.build({"tool": tool}), 1)
        while kept is not None:
            envelope = kept.open()
            after = envelope.time.timestamp() - event.at
            if isinstance(envelope.data, ToolObserved) and envelope.data.action == action and after >= 0:
                print(f"{action} was said {after * 1000:.0f} ms after the engine's own time of it")
                return after
            kept = await platform.bus.next(EVENTS, TOOL_ENGINE.build({"tool": tool}), kept.sequence + 1)
        return None

    return await until(said, f"{action} of {tool} is said")


Meddling = Callable[[Platform, str], Awaitable[None]]


async def kill(platform: Platform, tool: str) -> None:
    await platform.hand.kill(tool)


async def stop(platform: Platform, tool: str) -> None:
    await platform.hand.stop(tool)


@pytest.mark.parametrize(("meddle", "reason"), [(kill, "killed"), (stop, "exit code 0")], ids=["killed", "stopped"])
async def test_a_container_that_was_ended_by_hand_shows_as_failed_with_the_reason_and_is_left_so(
    platform: Platform, api: Api, meddle: Meddling, reason: str
) -> None:
    name, tool = await tool_in(platform, "running")
    with platform.hand.watching() as happened:
        await meddle(platform, tool)
        shown = await shows(api, name, "failed")
        assert await delay(platform, tool, happened, "die") < 10 * SOON
    assert reason in shown["reason"]
    assert "It was stopped by hand, outside MACHETE. It is left so" in shown["reason"]
    assert (await api.done(await api.start(name)))["state"] == "succeeded"
    assert (await shows(api, name, "running"))["reason"] is None
    assert len(await platform.hand.running(tool)) == 1


async def test_a_tool_that_dies_again_and_again_is_not_shown_as_running_while_it_happens_to_be_up(
    platform: Platform, api: Api
) -> None:
    name = fresh("dies")
    install = await api.install(name, platform.forge.tool("dies", dies_after(1.5)), start=True)
    assert (await api.done(install))["state"] == "succeeded"
    tool = await until_restless(api, name)
    assert tool["reason"].endswith("times, last less than a minute ago: its log says why.")
    before = (await platform.hand.inspect(install.tool))["RestartCount"]
    assert before >= 5
    states: set[str] = set()
    while (await platform.hand.inspect(install.tool))["RestartCount"] == before:
        states.add((await api.tool(name))["state"])
    await until_restless(api, name)
    assert states <= {"degraded", "failed"}


async def until_restless(api: Api, name: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        tool = await api.tool(name)
        return tool if tool["state"] == "degraded" and "was started again" in tool["reason"] else None

    return await until(look, f"{name} is shown as restless", 60)


async def test_a_container_that_was_removed_by_hand_shows_as_failed_and_is_made_again(
    platform: Platform, api: Api
) -> None:
    name, tool = await tool_in(platform, "running")
    with platform.hand.watching() as happened:
        await platform.hand.remove(tool)
        assert await delay(platform, tool, happened, "destroy") < 10 * SOON

    async def said() -> bool:
        observed = await platform.observed(tool)
        return any("its container is gone" in (each.reason or "") and each.state == "failed" for each in observed)

    await until(said, "it is said that it is gone")
    await until(lambda: platform.hand.running(tool), "it runs again", 60)
    assert (await shows(api, name, "running"))["reason"] is None


async def test_a_container_that_was_started_by_hand_shows_as_running_outside_machete(
    platform: Platform, api: Api
) -> None:
    name, tool = await tool_in(platform, "stopped")
    with platform.hand.watching() as happened:
        await platform.hand.start(tool)
        shown = await shows(api, name, "running")
        assert await delay(platform, tool, happened, "start") < 10 * SOON
    assert shown["reason"] == "It was started outside MACHETE."
    assert (await api.done(await api.stop(name)))["state"] == "succeeded"
    assert (await shows(api, name, "stopped"))["reason"] is None


async def test_what_happens_to_a_container_by_hand_is_told_live(platform: Platform, api: Api) -> None:
    _, tool = await tool_in(platform, "running")
    async with api.live("tools") as live:
        await platform.hand.kill(tool)

        def wanted(frame: dict[str, Any]) -> bool:
            event = frame["event"]
            return event["subject"].endswith(f"{tool}.engine") and event["data"]["action"] == "die"

        frames = await live.until(wanted)
    assert frames[-1]["event"]["data"]["state"] == "failed"


async def test_somebody_else_s_container_of_a_like_name_is_not_taken_for_the_tool_s(
    platform: Platform, api: Api
) -> None:
    """Labels count, not names: a container run by hand from a tool's image carries only the image's."""
    name, tool = await tool_in(platform, "running")
    image = (await platform.hand.inspect(tool))["Config"]["Image"]
    stray = platform.hand.sdk.create_container(image, name=f"machete-{platform.instance}-{tool}-by-hand")
    try:
        platform.hand.sdk.start(stray)
        platform.hand.sdk.kill(stray)
        ended = await api.done(await api.restart(name))
        assert ended["state"] == "succeeded"
        assert len((await api.tool(name))["services"]) == 1
        assert platform.hand.sdk.inspect_container(stray)["State"]["Status"] == "exited"
    finally:
        platform.hand.sdk.remove_container(stray, force=True)
