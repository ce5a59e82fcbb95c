"""Who follows states has all tools as they are, each change once, and goes on where he was."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest

from libs.contracts.engines import EngineLost
from libs.contracts.live import StatesFrame
from libs.contracts.queries import ListTools
from libs.contracts.tools import ToolState
from services.status import board
from services.status.domain.cursors import Place, parse_cursor
from tests.status.service import Follower, Frame, Running, status_service
from tests.status.stories import Operation, at, lost, observed, tool, tool_named
from tests.support.stage import Stage, staged


@pytest.fixture(scope="module")
async def stage() -> AsyncGenerator[Stage]:
    async with staged() as stage:
        yield stage


@pytest.fixture
async def status(tmp_path: Path) -> AsyncGenerator[Running]:
    async with staged() as stage, status_service(stage, tmp_path) as running:
        yield running


async def installed(status: Running, *names: str) -> None:
    """And in the tables, so that they are in the first frame of whoever comes next."""
    last = 0
    for name in names:
        install = Operation(name=name)
        await status.say(install.accepted())
        fence = await status.say(install.started())
        last = await status.say(install.succeeded(fence, tool(name)))
    await status.ask(ListTools(position=last))


def states_of(frames: Sequence[Frame]) -> dict[str, str]:
    """What a client knows after these: a whole picture replaces all it knew."""
    known: dict[str, str] = {}
    for frame in frames:
        said = StatesFrame.model_validate(frame).states
        if said.whole:
            known.clear()
        known.update({each.name: str(each.state) for each in said.tools})
        for id in said.gone:
            known.pop(id.rpartition("-")[0], None)
    return known


async def until(live: Follower, wanted: dict[str, str], known: list[Frame]) -> list[Frame]:
    """The frames up to the one with which the client knows this."""
    came: list[Frame] = []
    while states_of([*known, *came]) != wanted:
        came.append(await live.next())
    return came


async def changes_next(status: Running, live: Follower, name: str, state: ToolState) -> Frame:
    """The tool changes, and that is the next that this one is told, alone: nothing else was still to come."""
    await status.say(observed(name, state))
    frame = await live.next()
    told = frame["states"]
    assert [(each["name"], each["state"]) for each in told["tools"]] == [(name, str(state))], frame
    assert (told["whole"], told["more"], told["gone"]) == (False, False, []), frame
    return frame


async def test_all_tools_come_first_and_then_each_as_it_changes(status: Running) -> None:
    await installed(status, "one", "two")
    async with status.live("states") as live:
        first = await live.next()
        assert first["states"]["whole"] is True
        assert first["states"]["more"] is False
        assert states_of([first]) == {"one": "running", "two": "running"}
        await status.say(observed("two", ToolState.FAILED))
        second = await live.next()
        assert second["states"]["whole"] is False
        assert [each["name"] for each in second["states"]["tools"]] == ["two"]
        assert states_of([first, second]) == {"one": "running", "two": "failed"}
        remove = Operation("uninstall", "one")
        await status.say(remove.accepted())
        fence = await status.say(remove.started())
        await status.say(remove.succeeded(fence, None))
        await until(live, {"two": "failed"}, [first, second])
        await changes_next(status, live, "two", ToolState.DEGRADED)


async def test_fifty_changes_within_a_tenth_of_a_second_are_one_frame(
    status: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tenth is stretched, so that a slow machine gets all fifty into it."""
    monkeypatch.setattr(board, "WINDOW", 2.0)
    await installed(status, "busy")
    async with status.live("states", "tools") as live:
        assert "states" in await live.next()
        told = [observed("busy", (ToolState.FAILED, ToolState.DEGRADED)[n % 2], seconds=n) for n in range(50)]
        last = await status.say(*told)
        frames = [await live.next() for _ in range(51)]
        await status.told_next(live, observed("busy", ToolState.FAILED))
        assert [each["state"] for each in (await live.next())["states"]["tools"]] == ["failed"]
    assert [kind for frame in frames for kind in frame if kind != "cursor"].count("event") == 50
    assert [each["state"] for each in frames[-1]["states"]["tools"]] == ["degraded"]
    assert parse_cursor(frames[-1]["cursor"]).states == last


async def test_what_changes_nothing_that_is_shown_is_not_told(status: Running) -> None:
    await installed(status, "calm", "other")
    async with status.live("states") as live:
        await live.next()
        await status.say(observed("calm", ToolState.RUNNING, reason=None, seconds=1))
        await status.say(observed("calm", ToolState.RUNNING, reason=None, seconds=2))
        await changes_next(status, live, "other", ToolState.FAILED)


async def test_one_tool_alone_is_followed_by_its_name_or_id(status: Running) -> None:
    await installed(status, "one", "two")
    for topic in ("state:two", f"state:{tool_named('two')}"):
        async with status.live(topic) as live:
            first = await live.next()
            assert set(states_of([first])) == {"two"}
            await status.say(observed("one", ToolState.FAILED), observed("one", ToolState.RUNNING))
            await status.say(observed("two", ToolState.DEGRADED))
            assert states_of([await live.next()]) == {"two": "degraded"}
            await status.say(observed("two", ToolState.RUNNING))
            await until(live, {"two": "running"}, [first])


async def test_who_comes_back_is_told_only_what_changed_meanwhile(status: Running) -> None:
    await installed(status, "one", "two", "three")
    async with status.live("states") as stays, status.live("states") as leaves:
        await stays.next()
        cursor = (await leaves.next())["cursor"]
        await status.say(observed("two", ToolState.FAILED))
        await stays.next()
        async with status.live("states", cursor=cursor) as live:
            frame = await live.next()
            last = await changes_next(status, live, "three", ToolState.FAILED)
        assert frame["states"]["whole"] is False
        assert states_of([frame]) == {"two": "failed"}
        async with status.live("states", cursor=last["cursor"]) as live:
            await changes_next(status, live, "three", ToolState.DEGRADED)


async def test_a_client_that_goes_from_replica_to_replica_knows_what_one_that_stays_knows(tmp_path: Path) -> None:
    async with (
        staged() as stage,
        status_service(stage, tmp_path / "one") as one,
        status_service(stage, tmp_path / "other") as other,
    ):
        await installed(one, "a", "b", "c")
        topics = ("states", "tools")
        async with one.live(*topics) as live:
            roaming = [await live.next()]
        cursor = roaming[0]["cursor"]
        async with one.live(*topics) as stays, other.live("states"):
            steady: list[Frame] = [await stays.next()]
            for turn in range(8):
                for name in "abc":
                    state = (ToolState.FAILED, ToolState.DEGRADED, ToolState.RUNNING)[(turn + ord(name)) % 3]
                    last = await one.say(observed(name, state, seconds=turn))
                async with (one, other)[turn % 2].live(*topics, cursor=cursor) as live:
                    while not seen(roaming, last):
                        roaming.append(await live.next())
                        cursor = roaming[-1]["cursor"]
            wanted = {
                name: str((ToolState.FAILED, ToolState.DEGRADED, ToolState.RUNNING)[(7 + ord(name)) % 3])
                for name in "abc"
            }
            while not seen(steady, last) or states_of(only_states(steady)) != wanted:
                steady.append(await stays.next())
            async with other.live(*topics, cursor=cursor) as live:
                while states_of(only_states(roaming)) != wanted:
                    roaming.append(await live.next())
    ids = [frame["event"]["id"] for frame in roaming if "event" in frame]
    assert len(ids) == len(set(ids))
    told = [frame["event"]["id"] for frame in steady if "event" in frame]
    assert ids == told[len(told) - len(ids) :]
    assert len(ids) >= 21


def seen(frames: Sequence[Frame], sequence: int) -> bool:
    """Whether the event with this sequence was told."""
    return any("event" in frame and (parse_cursor(frame["cursor"]).events or 0) >= sequence for frame in frames)


def only_states(frames: Sequence[Frame]) -> list[Frame]:
    return [frame for frame in frames if "states" in frame]


async def test_an_engine_that_goes_away_makes_every_tool_unknown(status: Running) -> None:
    await installed(status, "one", "two")
    async with status.live("states") as live:
        first = await live.next()
        await status.say(lost(seconds=10))
        came = await until(live, {"one": "unknown", "two": "unknown"}, [first])
        assert len(came) == 1
    away = EngineLost(engine="local", reason="connection refused", observed_at=at(20))
    async with status.live("states", cursor=came[0]["cursor"]) as live:
        await status.say(away)
        assert {each["since"] for each in (await live.next())["states"]["tools"]} == {"2026-01-01T00:00:20Z"}


async def test_many_tools_come_in_several_frames_and_a_cut_between_them_begins_again(
    status: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "LONGEST", 1_000)
    names = [f"tool{number}" for number in range(8)]
    await installed(status, *names)
    wanted = dict.fromkeys(names, "running")
    async with status.live("states") as live:
        whole = [await live.next()]
        while whole[-1]["states"]["more"]:
            whole.append(await live.next())
    assert len(whole) > 3
    assert [frame["states"]["whole"] for frame in whole] == [True] + [False] * (len(whole) - 1)
    assert states_of(whole) == wanted
    for frame in whole[:-1]:
        async with status.live("states", cursor=frame["cursor"]) as live:
            assert states_of(await until(live, wanted, [])) == wanted
    async with status.live("states", cursor=whole[-1]["cursor"]) as live:
        await changes_next(status, live, "tool0", ToolState.FAILED)


async def test_a_place_that_nobody_here_remembers_is_answered_with_everything(status: Running) -> None:
    await installed(status, "one")
    async with status.live("states") as live:
        place = parse_cursor((await live.next())["cursor"])
    old = Place(place.epoch, None, None, states=1)
    async with status.live("states", cursor=old.cursor()) as live:
        assert (await live.next())["states"]["whole"] is True
    foreign = Place("aaaaaaaa", None, None, states=place.states)
    async with status.live("states", cursor=foreign.cursor()) as live:
        frames = await live.frames(3)
    assert [frame["gap"]["stream"] for frame in frames[:2]] == ["events", "logs"]
    assert frames[2]["states"]["whole"] is True


async def test_who_keeps_a_pace_is_told_what_happened_together_and_in_order(status: Running) -> None:
    install = Operation()
    await status.say(install.accepted())
    fence = await status.say(install.started())
    async with status.live("tools", pace=700) as paced, status.live("tools") as prompt:
        told = [install.begins("build", fence, seconds=n) for n in range(30)]
        await status.say(*told)
        ids = [frame["event"]["id"] for frame in await prompt.frames(30)]
        together: list[Any] = []
        frames = 0
        while len(together) < 30:
            frame = await paced.next()
            together += frame["events"]
            frames += 1
    assert [event["id"] for event in together] == ids
    assert frames < 30


async def test_an_event_of_another_tool_is_none_of_one_s_business(status: Running) -> None:
    await installed(status, "mine", "other")
    async with status.live("tool:mine") as live:
        await status.say(observed("other"), lost(), observed("mine", seconds=7), observed("other"))
        stop = Operation("stop", "mine")
        await status.say(stop.accepted(), stop.started())
        frames = await live.frames(3)
        await status.told_next(live, observed("mine", seconds=8))
    assert {frame["event"]["data"]["tool"] for frame in frames} == {tool_named("mine")}


async def test_who_asks_for_heartbeats_hears_one_whenever_nothing_happens(status: Running) -> None:
    await installed(status, "calm")
    async with status.live("tool:calm", heartbeat=1) as live:
        last = await status.say(lost())
        beat = await live.next()
        assert set(beat) == {"cursor", "heartbeat"}
        while (parse_cursor(beat["cursor"]).events or 0) < last:
            beat = await live.next()
    async with status.live("tool:calm", cursor=beat["cursor"]) as live:
        await status.say(observed("calm"))
        assert (await live.next())["event"]["data"]["tool"] == tool_named("calm")
