"""Who asks for more than may wait is told so, at either door, with a time at which there is room."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from libs.contracts.streams import COMMANDS, STREAMS
from libs.contracts.subjects import lane
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.waiting import WaitingCommands
from libs.runtime.http.problems import Problem
from services.gateway.admission import Admission
from services.gateway.domain.requests import Request
from services.gateway.domain.waiting import Limits
from tests.bus.sketch import ADMIN, command
from tests.gateway.agents import robot
from tests.gateway.doors import Door, accepted, door, gateway_settings, on_both_servers, operation, refused
from tests.gateway.ledger import Ledger
from tests.gateway.workers import working
from tests.support.stage import Stage, eventually


async def refused_soon(gateway: Door, path: str, scope: str) -> None:
    """As soon as the gateway has heard of all."""

    async def look() -> bool:
        answer = await gateway.post(path)
        return answer.status_code == 429 and answer.json()["scope"] == scope

    await eventually(look, f"{path} is refused for the {scope}")


async def let_in_soon(gateway: Door, path: str) -> None:
    async def look() -> bool:
        return (await gateway.post(path)).status_code == 202

    await eventually(look, f"{path} is accepted")


async def test_what_names_no_tool_that_could_be_keeps_nobody_from_being_counted(stage: Stage, tmp_path: Path):
    """It stays in the queue for as long as nobody takes it off."""
    bus = await stage.bus("gateway")
    lathe = command("start", "lathe-abcdef", "lathe")
    await stage.witness.jetstream.publish("machete.cmd.v1.tool.W\u00fcrd!.start", b"?")
    await bus.publish(COMMANDS, lathe, id=lathe.operation)
    assert await WaitingCommands(bus).stored() == Counter({lathe.tool: 1})


async def test_all_commands_of_a_tool_count_whatever_they_are_and_what_is_said_helps(
    stage: Stage, tmp_path: Path, ledger: Ledger
):
    async with door(stage, tmp_path, waiting_per_tool=4) as gateway:
        for path in ("start", "stop", "restart"):
            await gateway.install(name="lathe")
            accepted(await gateway.post(f"/tools/lathe/{path}"))
        answer = await gateway.post("/tools/lathe/build")
        said = refused(answer, 429, "too_many_waiting")
        assert (said["scope"], said["waiting"], said["limit"]) == ("tool", 4, 4)
        assert int(answer.headers["retry-after"]) == said["retry_after"]
        for word in (
            "4 commands wait for lathe-",
            f"try again in {said['retry_after']} s",
            "cancel",
            "/api/v1/operations",
        ):
            assert word in said["detail"]
        accepted(await gateway.post("/tools/lathe/stop", now="true"))
        accepted(await gateway.install(name="drill"))
        assert len(await ledger.commands()) == 6


async def test_each_principal_has_a_bound_of_his_own_and_agents_are_told_alike(stage: Stage, tmp_path: Path):
    async with door(stage, tmp_path, waiting_per_principal=3) as gateway:
        for name in ("lathe", "drill", "saw"):
            accepted(await gateway.install(name=name))
        over_http = await gateway.install(name="plane")
        refused(over_http, 429, "too_many_waiting")
        async with robot(stage, gateway, "eager") as agent:
            for name in ("lathe", "drill", "saw"):
                (await agent.ask("tools.start", {"name": name})).accepted()
            answer = await agent.ask("tools.stop", {"name": "lathe"})
            said = answer.refused(429, "too_many_waiting")
            assert said.keys() == over_http.json().keys()
            assert said["scope"] == over_http.json()["scope"] == "principal"
            assert answer.headers["Retry-After"] == str(said["retry_after"])
            assert "3 commands of agent:eager wait" in said["detail"]


async def test_the_platform_has_a_bound_and_a_name_refused_by_it_is_free(stage: Stage, tmp_path: Path, ledger: Ledger):
    async with door(stage, tmp_path, waiting_in_all=2) as gateway:
        first = operation(await gateway.install(name="lathe"))
        accepted(await gateway.install("key", name="drill"))
        said = refused(await gateway.install(name="saw"), 429, "too_many_waiting")
        assert (said["scope"], said["waiting"], said["limit"]) == ("platform", 2, 2)
        assert await ledger.holder("saw") is None
        # What is there already is found, however full it is.
        accepted(await gateway.install("key", name="drill"))
        async with working(stage) as works:
            await works.ended(first)
        await let_in_soon(gateway, "/tools/lathe/start")


async def test_many_at_once_are_let_in_to_the_bound_and_no_further(
    stage: Stage, tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    async with door(stage, tmp_path, waiting_per_tool=10) as gateway:
        await gateway.install(name="lathe")
        answers = await asyncio.gather(*(gateway.post("/tools/lathe/start") for _ in range(30)))
        assert Counter(answer.status_code for answer in answers) == {202: 9, 429: 21}
        assert len(await ledger.commands()) == 10
        # A queue in which nothing has moved for 20 s: each of whom it turns away is told another time.
        monkeypatch.setattr("services.gateway.admission._now", lambda: asyncio.get_running_loop().time() + 20)
        refusals = await asyncio.gather(*(gateway.post("/tools/lathe/start") for _ in range(9)))
        told = {refused(each, 429, "too_many_waiting")["retry_after"] for each in refusals}
        assert len(told) == 9


async def test_a_count_that_is_out_of_date_hides_no_other_limit_that_is_reached(
    stage: Stage, tmp_path: Path, ledger: Ledger
):
    """Of the tool less waits than the gateway has heard of, in all it is as much."""
    async with door(stage, tmp_path, waiting_per_tool=2, waiting_in_all=4) as gateway:
        installs = [operation(await gateway.install(name=name)) for name in ("lathe", "drill", "saw")]
        accepted(await gateway.post("/tools/lathe/start"))
        lathe, drill, _ = [(await ledger.accepted_once(install)).tool for install in installs]
        await stage.witness.jetstream.purge_stream(COMMANDS.name, subject=lane(lathe))
        for _ in range(2):
            await stage.witness.publish(COMMANDS, command("start", drill, "drill"))
        said = refused(await gateway.post("/tools/lathe/start"), 429, "too_many_waiting")
        assert said["scope"] == "platform"


async def test_two_gateways_and_one_that_comes_later_hold_one_bound(stage: Stage, tmp_path: Path):
    async with door(stage, tmp_path / "one", waiting_per_tool=4) as one:
        async with door(stage, tmp_path / "two", waiting_per_tool=4) as two:
            await one.install(name="lathe")
            for gateway in (two, one, two):
                accepted(await gateway.post("/tools/lathe/start"))
            for gateway in (one, two):
                await refused_soon(gateway, "/tools/lathe/stop", "tool")
        async with door(stage, tmp_path / "three", waiting_per_tool=4) as three:
            await refused_soon(three, "/tools/lathe/restart", "tool")


async def test_room_is_found_again_when_work_is_done_cancelled_or_gone_without_a_word(stage: Stage, tmp_path: Path):
    async with door(stage, tmp_path, waiting_per_tool=2) as gateway:
        first = operation(await gateway.install(name="lathe"))
        accepted(await gateway.post("/tools/lathe/start"))
        refused(await gateway.post("/tools/lathe/start"), 429, "too_many_waiting")
        async with working(stage) as works:
            await works.ended(first)
            await let_in_soon(gateway, "/tools/lathe/start")
            await eventually(lambda: len(works.done) == 3, "all is done")
        for _ in range(2):
            await let_in_soon(gateway, "/tools/lathe/start")
        refused(await gateway.post("/tools/lathe/start"), 429, "too_many_waiting")
        await stage.witness.jetstream.purge_stream(COMMANDS.name)
        accepted(await gateway.post("/tools/lathe/start"))


async def test_counts_are_right_again_after_nats_was_killed(stage: Stage, tmp_path: Path):
    async with door(stage, tmp_path, waiting_per_tool=3) as gateway:
        await gateway.install(name="lathe")
        accepted(await gateway.post("/tools/lathe/start"))
        await stage.crash()
        await let_in_soon(gateway, "/tools/lathe/start")
        await refused_soon(gateway, "/tools/lathe/start", "tool")


async def test_counts_are_put_right_after_a_look_that_broke(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    """Two commands that nobody told of are found by the looks alone; the first time the server cannot hand them out."""
    monkeypatch.setattr("services.gateway.admission.LOOK", 0.1)
    lathe = "lathe-aaaaaa"
    for _ in range(2):
        await stage.witness.publish(COMMANDS, command("start", lathe, "lathe"))
    bus = await stage.bus("gateway")
    broken = break_once(bus, f"$JS.API.STREAM.MSG.GET.{COMMANDS.name}")
    admission = Admission(bus, Limits(tool=2, principal=9, platform=9))

    async def full() -> bool:
        try:
            async with admission.room(Request("start", "lathe", ADMIN), lathe):
                return False
        except Problem as problem:
            return problem.code == "too_many_waiting"

    async with admission.standing():
        await eventually(full, "both are counted")
    assert broken


def break_once(bus: Bus, breaks: str) -> list[str]:
    """The first request under the subject that `breaks` is answered with an error; which, once it was."""
    replies = bus._replies  # pyright: ignore[reportPrivateUsage]
    ask, broken = replies.ask, list[str]()

    async def asking(subject: str, payload: bytes, *more: Any, **named: Any) -> bytes:
        if subject == breaks and not broken:
            broken.append(subject)
            return b'{"error": {"code": 500, "err_code": 10008, "description": "JetStream system is unwell"}}'
        return await ask(subject, payload, *more, **named)

    replies.ask = asking
    return broken


async def test_no_setting_passes_what_the_stream_itself_takes(stage: Stage, tmp_path: Path):
    (commands,) = [stream for stream in STREAMS if stream.name == COMMANDS.name]
    limits = gateway_settings(stage, tmp_path)
    assert limits.waiting_per_tool <= (commands.per_subject or 0)
    assert limits.waiting_in_all <= (commands.in_all or 0)
    config = (await stage.witness.jetstream.stream_info(COMMANDS.name)).config
    assert (config.max_msgs, config.max_msgs_per_subject) == (commands.in_all, commands.per_subject)


@pytest.mark.parametrize(
    ("bound", "scope", "limit", "words"),
    [
        ({"max_msgs": 2}, "platform", COMMANDS.in_all, "as many commands wait as the queue takes"),
        ({"max_msgs_per_subject": 1}, "tool", COMMANDS.per_subject, "as many commands to start lathe-"),
    ],
)
@on_both_servers
async def test_what_the_stream_itself_refuses_is_told_as_what_it_is(
    stage: Stage, tmp_path: Path, bound: dict[str, int], scope: str, limit: int, words: str
):
    config = (await stage.witness.jetstream.stream_info(COMMANDS.name)).config
    await stage.witness.jetstream.update_stream(config.evolve(**bound))
    async with door(stage, tmp_path) as gateway:
        accepted(await gateway.install(name="lathe"))
        accepted(await gateway.post("/tools/lathe/start"))
        said = refused(await gateway.post("/tools/lathe/start"), 429, "too_many_waiting")
        assert (said["scope"], said["limit"], said["waiting"]) == (scope, limit, 2)
        assert words in said["detail"]
