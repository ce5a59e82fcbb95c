"""What should run and does not is started again once, by one of two orchestrators, or left to somebody who is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any

import pytest

from deploy.setup.images import BUSYBOX
from libs.contracts.names import new_operation_id
from libs.contracts.operations import OperationSucceeded
from libs.contracts.streams import COMMANDS
from libs.contracts.tools import Repair, StartTool
from services.orchestrator.reconciler import SELF
from tests.support.platform import Platform, split_platform
from tests.support.platform_api import Accepted
from tests.support.platform_checks import counted, fresh, nothing_waits, succeeded
from tests.support.platform_proxy import EngineProxy
from tests.support.platform_stacks import container, inspected, installed, serves, stack, states, waits
from tests.support.platform_tools import Files, web
from tests.support.platform_waiting import until

QUICK = {"MACHETE_LOOK_INTERVAL": "0.5", "MACHETE_REPAIR_BACKOFF": "1"}
PATIENCE = 60.0


@dataclass(frozen=True)
class Tool:
    platform: Platform
    name: str
    install: Accepted

    @property
    def id(self) -> str:
        return self.install.tool

    async def repairs(self) -> list[dict[str, Any]]:
        """What nobody asked for, the latest first."""
        page = await self.platform.api.get("/api/v1/operations", tool=self.name)
        return [each for each in page["operations"] if each["requested_by"] == SELF.label]

    async def shows(self, state: str, words: str = "") -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            tool = await self.platform.api.tool(self.name)
            return tool if tool["state"] == state and words in (tool["reason"] or "") else None

        return await until(look, f"{self.name} is {state}: {words}", PATIENCE)

    async def is_repaired(self, times: int = 1) -> None:
        """Returns when it has been started again so often, and runs."""

        async def look() -> bool:
            ended = [each["state"] for each in await self.repairs()]
            return ended == ["succeeded"] * times

        await until(look, f"{self.name} is started again", PATIENCE)
        await nothing_waits(self.platform)
        await self.shows("running")

    async def is_left(self, words: str) -> None:
        """Returns when that is said, and everything has been looked at again after it."""
        before = len(await self.repairs())
        await until(lambda: self._says(words), f"{self.name} says: {words}", PATIENCE)
        await asyncio.sleep(2 * float(QUICK["MACHETE_LOOK_INTERVAL"]))
        assert len(await self.repairs()) == before
        assert words in (await self.platform.api.tool(self.name))["reason"]

    async def _says(self, words: str) -> bool:
        return words in ((await self.platform.api.tool(self.name))["reason"] or "")


@dataclass(frozen=True)
class Away:
    platform: Platform
    engine: EngineProxy

    async def tool(self, files: Files | None = None) -> Tool:
        name, install = await installed(self.platform, files or web())
        return Tool(self.platform, name, install)


@pytest.fixture(scope="module")
async def away(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Away]:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(EngineProxy(tmp_path_factory.mktemp("line") / "engine.sock"))
        environment = {"DOCKER_HOST": proxy.address, **QUICK}
        folder = tmp_path_factory.mktemp("drift")
        yield Away(
            await stack.enter_async_context(split_platform(folder, environment=environment, orchestrator=2)), proxy
        )


@pytest.fixture
def platform(away: Away) -> Platform:
    return away.platform


async def test_what_somebody_removed_is_made_again_once_at_its_address_and_then_he_has_his_way(
    away: Away, platform: Platform
) -> None:
    tool = await away.tool()
    before = await platform.api.tool(tool.name)
    with platform.hand.watching() as happened:
        await platform.hand.remove(tool.id)
        await tool.is_repaired()
        assert counted(happened, "start") == {tool.id: 1}
    after = await platform.api.tool(tool.name)
    assert (after["urls"], after["reason"]) == (before["urls"], None)
    await platform.hand.remove(tool.id)
    await tool.is_left("It was removed by hand after it had been started again unasked.")
    await succeeded(platform, await platform.api.start(tool.name))
    await platform.hand.remove(tool.id)
    await tool.is_repaired(2)


async def test_what_somebody_stopped_is_left_and_told_unless_its_manifest_says_always(
    away: Away, platform: Platform
) -> None:
    tool, stubborn = await away.tool(), await away.tool(web(restart="always"))
    for each in (tool, stubborn):
        await platform.hand.stop(each.id)
    await tool.is_left("It was stopped by hand, outside MACHETE. It is left so: start it again, or stop it.")
    await stubborn.is_repaired()
    await platform.hand.kill(stubborn.id)
    await stubborn.is_left("It was stopped by hand after it had been started again")
    assert not await tool.repairs()
    for each in (tool, stubborn):
        await succeeded(platform, await platform.api.start(each.name))
        await each.shows("running")


async def test_what_ends_by_itself_is_the_engine_s_to_start_and_nobody_else_does(
    away: Away, platform: Platform
) -> None:
    tool = await away.tool()
    before = await platform.hand.inspect(tool.id)
    with platform.hand.watching() as happened:
        # All but the shell, which ends when what it waits for has.
        made = await asyncio.to_thread(platform.hand.sdk.exec_create, before["Id"], ["kill", "-9", "-1"])
        await asyncio.to_thread(platform.hand.sdk.exec_start, made["Id"])

        async def again() -> bool:
            state = (await platform.hand.inspect(tool.id))["State"]
            return state["Running"] and state["StartedAt"] != before["State"]["StartedAt"]

        await until(again, "the engine has started it again", PATIENCE)
        await tool.shows("running")
    assert counted(happened, "start") == {tool.id: counted(happened, "die")[tool.id]}
    assert not await tool.repairs()


async def test_a_replica_of_a_stack_that_is_missing_is_made_again_and_the_others_stay_as_they_are(
    away: Away, platform: Platform
) -> None:
    tool = await away.tool(stack({"web": serves("x", ports=["8080"]), "worker": waits(scale=2)}))
    others = [container(platform, tool.id, "web"), container(platform, tool.id, "worker", 2)]
    before = [(await inspected(platform, each))["State"]["StartedAt"] for each in others]
    removed = container(platform, tool.id, "worker", 1)
    await asyncio.to_thread(platform.hand.sdk.remove_container, removed, force=True)
    await tool.is_repaired()
    assert [(await inspected(platform, each))["State"]["StartedAt"] for each in others] == before
    assert len(states(await platform.api.tool(tool.name))) == 3
    assert all(state == "running" for state, _ in states(await platform.api.tool(tool.name)).values())


async def test_what_was_taken_out_of_its_network_is_made_again_in_it_or_left_and_told_where_its_manifest_says_no(
    away: Away, platform: Platform
) -> None:
    single, left = await away.tool(), await away.tool(web(restart="no"))
    several = await away.tool(stack({"web": serves("x", ports=["8080"]), "db": waits()}))
    db = container(platform, several.id, "db")
    untouched = (await inspected(platform, container(platform, several.id, "web")))["Id"]
    for name, network in (
        *((tool_container(platform, each), tool_container(platform, each)) for each in (single, left)),
        (db, f"{tool_container(platform, several)}_default"),
    ):
        await asyncio.to_thread(platform.hand.sdk.disconnect_container_from_network, name, network, force=True)
    await left.is_left("app was taken out of its network")
    assert (await platform.api.tool(left.name))["state"] == "degraded"
    for repaired, name in ((single, tool_container(platform, single)), (several, db)):
        await repaired.is_repaired()
        assert (await inspected(platform, name))["NetworkSettings"]["Networks"]
    assert (await inspected(platform, container(platform, several.id, "web")))["Id"] == untouched
    assert not await left.repairs()
    await succeeded(platform, await platform.api.start(left.name))
    await left.shows("running")


def tool_container(platform: Platform, tool: Tool) -> str:
    return f"machete-{platform.instance}-{tool.id}"


async def test_a_start_that_cannot_be_is_tried_again_after_growing_pauses_that_are_told_until_somebody_mends_it(
    away: Away, platform: Platform
) -> None:
    tool = await away.tool()
    image = (await platform.hand.inspect(tool.id))["Config"]["Image"]
    # Asked for in this order, so that nothing can be made between: the tag goes first, its container next.
    await asyncio.to_thread(platform.hand.sdk.remove_image, image, force=True)
    await platform.hand.remove(tool.id)
    shown = await tool.shows("failed", "follows at")
    assert "The engine has no image" in shown["reason"]
    assert "Try 2 to start it again follows at" in shown["reason"]
    await tool.shows("failed", "Try 4 to start it again follows at")
    operations = (await tool.repairs())[::-1]
    begun = [datetime.fromisoformat(each["created_at"]) for each in operations]
    ended = [datetime.fromisoformat(each["ended_at"]) for each in operations]
    pauses = [(begin - end).total_seconds() for begin, end in zip(begun[1:], ended, strict=False)]
    backoff = float(QUICK["MACHETE_REPAIR_BACKOFF"])
    assert all(pause >= backoff * 2**number * 0.8 for number, pause in enumerate(pauses))
    assert len(pauses) == 2
    await succeeded(platform, await platform.api.build(tool.name))
    await tool.shows("running")


async def test_a_start_that_was_decided_on_before_something_else_was_done_comes_to_nothing(
    away: Away, platform: Platform
) -> None:
    tool = await away.tool()
    await succeeded(platform, await platform.api.stop(tool.name))
    operation = new_operation_id(SELF.label, f"late.{tool.id}")
    late = StartTool(
        tool=tool.id,
        tool_name=tool.name,
        operation=operation,
        requested_by=SELF,
        digest="repair",
        repair=Repair(judged_by=1, tries=1),
    )
    async with platform.as_user("orchestrator") as bus:
        await bus.publish(COMMANDS, late, id=operation)
    ended = await platform.ended(Accepted(operation, tool.id, "start", 0, (), {}))
    assert isinstance(ended, OperationSucceeded)
    assert ended.effect == "none"
    assert not await platform.hand.running(tool.id)
    assert (await platform.api.tool(tool.name))["state"] == "stopped"


async def test_what_comes_of_a_tool_that_is_gone_is_taken_away(away: Away, platform: Platform) -> None:
    """What a worker had asked the engine for comes when somebody else has removed the tool already."""
    tool = await away.tool()
    before = await platform.hand.inspect(tool.id)
    await succeeded(platform, await platform.api.uninstall(tool.name))
    await platform.is_gone(tool.id)
    sdk, name = platform.hand.sdk, before["Name"].removeprefix("/")
    labels = before["Config"]["Labels"]
    await asyncio.to_thread(sdk.create_container, BUSYBOX, ["sleep", "5000"], name=name, labels=labels)
    await platform.is_gone(tool.id)
    await asyncio.to_thread(sdk.create_network, name, labels=labels)
    await platform.is_gone(tool.id)
    dockerfile = BytesIO(f"FROM {BUSYBOX}\n".encode())
    repository = f"machete/{platform.instance}/{tool.id}"
    built = sdk.build(fileobj=dockerfile, tag=f"{repository}:late", labels=labels, rm=True, decode=True)
    await asyncio.to_thread(list, built)
    await platform.is_gone(tool.id)


async def test_ten_tools_that_ended_while_the_engine_was_out_of_reach_are_each_started_again_once(
    away: Away, platform: Platform
) -> None:
    url = platform.forge.tool("web", web())
    names = [fresh("ten") for _ in range(10)]
    installs = await asyncio.gather(*(platform.api.install(name, url, start=True) for name in names))
    for each in installs:
        await platform.ended(each, 2 * PATIENCE)
    await succeeded(platform, *installs)
    tools = [Tool(platform, name, install) for name, install in zip(names, installs, strict=True)]
    await away.engine.cut()
    hands = (platform.hand.stop, platform.hand.kill, platform.hand.remove)
    await asyncio.gather(*(hands[number % 3](tool.id) for number, tool in enumerate(tools)))
    with platform.hand.watching() as happened:
        await away.engine.mend()
        for tool in tools:
            await tool.is_repaired()
        await nothing_waits(platform)
        await asyncio.sleep(2 * float(QUICK["MACHETE_LOOK_INTERVAL"]))
    assert counted(happened, "start") == {tool.id: 1 for tool in tools}
    assert [len(await tool.repairs()) for tool in tools] == [1] * 10
    assert platform.complaints() == []
