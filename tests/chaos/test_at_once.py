"""Requests that meet: sent at once, cancelled in every step, overtaken, repeated under one key at two gateways."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from libs.contracts.names import new_operation_id, tool_id
from libs.contracts.operations import OperationCancelled, OperationFailed, OperationSucceeded
from libs.contracts.principals import Principal
from libs.contracts.releases import Source
from libs.contracts.streams import COMMANDS, Reservation
from libs.contracts.tools import InstallTool, ToolState
from libs.runtime.bus.names import Names
from tests.support.platform import Platform
from tests.support.platform_api import Accepted, Api, Refusal
from tests.support.platform_checks import assert_one_end, counted, fresh, in_order, nothing_waits, succeeded
from tests.support.platform_process import belonging_to, said_by_machine
from tests.support.platform_tools import Files, builds_for_ever, deaf, sleeping, waits_for_go, web
from tests.support.platform_waiting import until

ADMIN = Principal(kind="user", name="admin", role="admin")


@pytest.fixture(scope="module")
async def apis(pairs: Platform) -> AsyncGenerator[list[Api]]:
    """One client at each of the gateways."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(pairs.api_of(gateway)) for gateway in ("gateway", "gateway-2")]


async def insist(request: Callable[[], Awaitable[Accepted]], *passing: int) -> Accepted:
    """Again and again while the answer is one of these statuses."""
    while True:
        try:
            return await request()
        except Refusal as refusal:
            if refusal.status not in passing:
                raise
        await asyncio.sleep(0.01)


async def installed(platform: Platform, files: Files | None = None, *, start: bool = False) -> Accepted:
    url = platform.forge.tool(fresh("repo"), files or web())
    install = await platform.api.install(fresh("tool"), url, start=start)
    await succeeded(platform, install)
    return install


def name_of(accepted: Accepted) -> str:
    return accepted.body["operation"]["tool_name"]


# Sent at once.


async def test_install_start_and_uninstall_sent_at_once_are_done_in_the_order_they_were_stored(
    pairs: Platform, apis: list[Api]
) -> None:
    """Also where a start gets between the reservation of a name and the install itself."""
    url = pairs.forge.tool("web", web())

    async def life(name: str) -> None:
        first, second = apis
        sent = await asyncio.gather(
            first.install(name, url),
            insist(lambda: second.start(name), 404),
            insist(lambda: first.uninstall(name), 404),
        )
        ends = {each.operation: await pairs.ended(each) for each in sent}
        places = {each.operation: (await pairs.record(each)).ended_at for each in sent}
        lane = sorted(sent, key=lambda each: places[each.operation])
        await in_order(pairs, lane)
        there = False
        for accepted in lane:
            end = ends[accepted.operation]
            if there or accepted.kind == "install":
                assert isinstance(end, OperationSucceeded), (accepted.kind, end)
            else:
                assert isinstance(end, OperationFailed), (accepted.kind, end)
                assert (end.error.code, end.effect) == ("tool_gone", "none")
            there = accepted.kind != "uninstall" and (there or accepted.kind == "install")
        if there:
            assert (await pairs.recorded(sent[0].tool)) is not None
            await succeeded(pairs, await first.uninstall(name))
        await pairs.is_gone(sent[0].tool)
        tools.append(sent[0].tool)

    tools: list[str] = []
    with pairs.hand.watching() as happened:
        await asyncio.gather(*(life(fresh("rush")) for _ in range(6)))
        await nothing_waits(pairs)
    assert counted(happened, "create") == counted(happened, "destroy") == dict.fromkeys(tools, 1)


async def test_a_start_that_gets_before_its_install_leaves_the_name_to_it(pairs: Platform) -> None:
    """As when a second gateway is quicker between the reservation of a name and the install's command."""
    name = fresh("early")
    async with pairs.as_user("gateway") as bus:
        operation = new_operation_id(ADMIN.label, None)
        tool = tool_id(name, operation)
        held = Reservation(tool=tool, operation=operation, reserved_at=time.time())
        assert await Names(bus).reserve(name, held, 0)
        start = await pairs.api.start(name)
        ended = await pairs.ended(start)
        assert isinstance(ended, OperationFailed)
        assert (ended.error.code, ended.effect) == ("tool_gone", "none")
        source = Source(git_url=pairs.forge.tool("web", web()))
        command = InstallTool(
            tool=tool, tool_name=name, operation=operation, requested_by=ADMIN, digest="1", source=source
        )
        await bus.publish(COMMANDS, command, id=operation)
    install = Accepted(operation, tool, "install", 0, (), {})
    await succeeded(pairs, install)


async def test_a_name_is_free_again_after_uninstall_and_the_new_tool_is_another_one(
    pairs: Platform, apis: list[Api]
) -> None:
    """Many race for the name while its tool is being removed: one gets it, the others are told who has it."""
    old = await installed(pairs, start=True)
    name, url = name_of(old), pairs.forge.tool("web", web())
    uninstall = await pairs.api.uninstall(name)

    async def try_again(api: Api) -> Accepted | None:
        while True:
            try:
                return await api.install(name, url, start=True)
            except Refusal as refusal:
                if refusal.problem["code"] != "name_taken":
                    raise
                if old.tool not in str(refusal.problem):
                    return None
            await asyncio.sleep(0.01)

    got = [each for each in await asyncio.gather(*(try_again(api) for api in apis * 5)) if each is not None]
    assert len(got) == 1
    await succeeded(pairs, uninstall, got[0])
    assert got[0].tool != old.tool
    await pairs.is_gone(old.tool)
    assert len(await pairs.hand.running(got[0].tool)) == 1


# Repeated under one key.


async def test_one_key_at_two_gateways_at_once_is_one_operation_with_one_effect(
    pairs: Platform, apis: list[Api]
) -> None:
    url, name, key = pairs.forge.tool("web", web()), fresh("once"), fresh("key")
    with pairs.hand.watching() as happened:
        racers = [api.install(name, url, key=key, start=True) for api in apis * 10]
        answers = await asyncio.gather(*racers)
        assert len({(each.operation, each.tool) for each in answers}) == 1
        await succeeded(pairs, answers[0])
        for action in ("restart", "stop"):
            racers = [getattr(api, action)(name, key=f"{key}-{action}") for api in apis * 10]
            done = await asyncio.gather(*racers)
            assert len({each.operation for each in done}) == 1
            await succeeded(pairs, done[0])
        late = await apis[1].install(name, url, key=key, start=True)
        assert (late.operation, late.body["operation"]["state"]) == (answers[0].operation, "succeeded")
        with pytest.raises(Refusal, match="idempotency_key_reused"):
            await apis[1].install(name, url, key=key, start=False)
        await nothing_waits(pairs)
    assert counted(happened, "create") == {answers[0].tool: 1}
    assert counted(happened, "start") == {answers[0].tool: 2}


# Overtaken.


@pytest.mark.parametrize("action", ["stop", "uninstall"])
async def test_now_cancels_what_runs_and_what_waits_and_is_then_carried_out(
    pairs: Platform, apis: list[Api], action: str
) -> None:
    install = await installed(pairs, waits_for_go())
    name = name_of(install)
    start = await apis[0].start(name)
    await until(lambda: pairs.hand.running(install.tool), "it starts")
    restart = await apis[1].restart(name)
    assert restart.waiting_for == (start.operation,)
    other = await apis[0].start(name)
    now = await getattr(apis[1], action)(name, now=True)
    await succeeded(pairs, now)
    for each in (start, restart, other):
        assert isinstance(await pairs.ended(each), OperationCancelled)
    for each in (restart, other):
        assert not (await pairs.record(each)).starts
    await in_order(pairs, [start, now])
    assert await pairs.hand.running(install.tool) == []
    if action == "uninstall":
        await pairs.is_gone(install.tool)


@pytest.mark.parametrize("action", ["stop", "uninstall"])
async def test_now_ends_an_install_that_is_under_way_and_leaves_nothing_to_do(pairs: Platform, action: str) -> None:
    mark = sleeping()
    url = pairs.forge.tool(fresh("for-ever"), builds_for_ever(mark))
    install = await pairs.api.install(fresh("never"), url)
    await until(lambda: said_by_machine(mark), "it is built")
    now = await getattr(pairs.api, action)(name_of(install), now=True)
    assert isinstance(await pairs.ended(install), OperationCancelled)
    ended = await pairs.ended(now)
    assert isinstance(ended, OperationSucceeded)
    assert ended.effect == "none"
    await pairs.is_gone(install.tool)
    await until(lambda: not said_by_machine(mark), "its build has ended on the engine")


# Cancelled.


async def cancelled(platform: Platform, accepted: Accepted) -> OperationCancelled:
    await platform.api.cancel(accepted.operation)
    ended = await platform.ended(accepted)
    assert isinstance(ended, OperationCancelled), ended
    assert_one_end(await platform.record(accepted))
    return ended


async def test_cancelled_while_it_waits_it_changes_nothing_and_ends_before_its_turn(pairs: Platform) -> None:
    install = await installed(pairs, waits_for_go())
    start = await pairs.api.start(name_of(install))
    await until(lambda: pairs.hand.running(install.tool), "it starts")
    stop = await pairs.api.stop(name_of(install))
    assert (await cancelled(pairs, stop)).effect == "none"
    assert (await pairs.record(start)).ended is None
    pairs.let_go(install.tool)
    await succeeded(pairs, start)


async def test_cancelled_in_the_fetch_nothing_stays_and_the_name_is_free(pairs: Platform) -> None:
    url = pairs.forge.tool("web", web())
    with pairs.forge.holding():
        install = await pairs.api.install(fresh("unwanted"), url)
        await asyncio.to_thread(pairs.forge.wait_until_held)
        assert belonging_to(pairs.data / "fetches")
        assert (await cancelled(pairs, install)).effect == "removed"
        await until(lambda: not belonging_to(pairs.data / "fetches"), "git is ended")
    again = await insist(lambda: pairs.api.install(name_of(install), url), 409)
    await succeeded(pairs, again)
    assert again.tool != install.tool


async def test_cancelled_in_the_build_nothing_stays_and_the_build_is_ended_on_the_engine(pairs: Platform) -> None:
    mark = sleeping()
    url = pairs.forge.tool(fresh("for-ever"), builds_for_ever(mark))
    install = await pairs.api.install(fresh("unwanted"), url)
    await until(lambda: said_by_machine(mark), "it is built")
    assert (await cancelled(pairs, install)).effect == "removed"
    await until(lambda: not said_by_machine(mark), "the build has ended on the engine")
    await pairs.is_gone(install.tool)


async def test_cancelled_in_the_start_of_an_install_nothing_stays(pairs: Platform) -> None:
    install = await pairs.api.install(fresh("unwanted"), pairs.forge.tool("waits", waits_for_go()), start=True)
    await until(lambda: pairs.hand.running(install.tool), "it starts")
    assert (await cancelled(pairs, install)).effect == "removed"
    await pairs.is_gone(install.tool)


async def test_cancelled_in_a_start_the_tool_is_stopped_again(pairs: Platform) -> None:
    install = await installed(pairs, waits_for_go())
    start = await pairs.api.start(name_of(install))
    await until(lambda: pairs.hand.running(install.tool), "it starts")
    ended = await cancelled(pairs, start)
    assert ended.state is not None
    assert ended.state.state is ToolState.STOPPED
    assert await pairs.hand.running(install.tool) == []


@pytest.mark.parametrize("action", ["stop", "restart", "uninstall"])
async def test_cancelled_in_the_midst_what_is_said_of_the_tool_is_what_the_engine_shows(
    pairs: Platform, action: str
) -> None:
    """At some moment or other of its stop or removal, with tools that end at once and tools that have to be killed."""
    tools = await asyncio.gather(
        *(installed(pairs, deaf() if slow else web(), start=True) for slow in (True, False) * 3)
    )

    async def one(install: Accepted, pause: float) -> None:
        sent = await pairs.api.change(action, name_of(install))
        await asyncio.sleep(pause)
        try:
            await pairs.api.cancel(sent.operation)
        except Refusal as refusal:
            if refusal.problem["code"] != "operation_ended":
                raise
        ended = await pairs.ended(sent)
        assert isinstance(ended, OperationCancelled | OperationSucceeded), ended
        assert_one_end(await pairs.record(sent))
        await as_it_is_said(pairs, install.tool, ended)

    await asyncio.gather(*(one(install, 0.05 * index) for index, install in enumerate(tools)))
    await nothing_waits(pairs)


async def as_it_is_said(platform: Platform, tool: str, ended: Any) -> None:
    """The end of an operation is the truth about the tool, and stays it."""
    if ended.effect == "removed":
        await platform.is_gone(tool)
        return
    await asyncio.sleep(4)  # as long as the engine may take for a stop that it was asked for
    running = bool(await platform.hand.running(tool))
    recorded = await platform.recorded(tool)
    assert recorded is not None
    assert recorded.state is not None
    assert (recorded.state.state is ToolState.RUNNING) == running, f"{recorded.state.state}, running: {running}"
