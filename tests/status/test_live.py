"""A live connection tells everything once and in order, wherever it was cut, whatever became of NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from libs.contracts.envelope import Message
from libs.contracts.streams import EVENTS, LOGS
from libs.contracts.tools import ToolState
from libs.runtime.http import server
from services.status.domain.cursors import Place, parse_cursor
from tests.status.service import Follower, Frame, Running, chunk, printed, status_service
from tests.status.stories import Operation, observed, tool
from tests.support.nats_server import NATS_VERSIONS
from tests.support.stage import Stage, staged


@pytest.fixture(params=NATS_VERSIONS)
async def stage(request: pytest.FixtureRequest) -> AsyncGenerator[Stage]:
    async with staged(request.param) as stage:
        yield stage


@pytest.fixture
async def status(stage: Stage, tmp_path: Path) -> AsyncGenerator[Running]:
    async with status_service(stage, tmp_path) as running:
        yield running


def said(frame: Frame) -> str:
    """What a frame tells, in a word."""
    if "event" in frame:
        event = frame["event"]
        about = event["data"].get("step") or event["data"].get("action") or event["data"].get("kind") or ""
        return f"{event['type'].split('.')[-2]} {about}".strip()
    if "log" in frame:
        return ",".join(line["text"] for line in frame["log"]["lines"])
    return f"gap {frame['gap']}"


def events_of(frames: Sequence[Frame]) -> list[str]:
    return [frame["event"]["id"] for frame in frames if "event" in frame]


def lines_of(frames: Sequence[Frame]) -> list[str]:
    return [line["text"] for frame in frames if "log" in frame for line in frame["log"]["lines"]]


async def tell_a_story(status: Running, name: str = "sample") -> Operation:
    """An install that prints, then a container that dies: 8 events and 9 chunks of lines."""
    install = Operation(name=name)
    await status.say(install.accepted())
    fence = await status.say(install.started())
    story: list[Message] = [
        printed(install, 0),
        install.begins("fetch", fence),
        printed(install, 1, 3),
        printed(install, 4),
        install.ends("fetch", fence),
        install.begins("build", fence),
        *(printed(install, number) for number in range(5, 9)),
        install.ends("build", fence),
        printed(install, 9),
        install.succeeded(fence, tool(name)),
        chunk(install.tool, "main", 0, 2),
        observed(name),
    ]
    await status.say(*story)
    return install


async def test_what_happens_to_tools_is_told_as_it_happens(status: Running) -> None:
    install = Operation()
    await status.say(install.accepted())
    async with status.live("tools") as live:
        fence = await status.say(install.started())
        await status.say(install.begins("build", fence), install.succeeded(fence, tool()))
        await status.say(observed())
        frames = await live.frames(4)
    assert [said(frame) for frame in frames] == ["started", "step-started build", "succeeded", "tool-observed die"]
    assert frames[0]["event"]["specversion"] == "1.0"
    assert frames[0]["event"]["subject"] == install.started().subject


async def test_an_operation_is_told_from_its_beginning_and_its_lines_before_its_end(status: Running) -> None:
    other = Operation(name="other")
    install = await tell_a_story(status)
    await status.say(other.accepted())
    async with status.live(f"operation:{install.id}") as live:
        frames = await live.frames(7 + 8)
        await status.told_next(live, install.begins("build", 1), printed(install, 10))
    assert [said(frame) for frame in frames if "event" in frame] == [
        "accepted install",
        "started",
        "step-started fetch",
        "step-ended fetch",
        "step-started build",
        "step-ended build",
        "succeeded",
    ]
    assert lines_of(frames) == [f"{install.id} {number}" for number in range(10)]
    assert said(frames[-1]) == "succeeded"


async def test_who_follows_an_operation_right_after_the_202_is_let_in(status: Running) -> None:
    for number in range(10):
        install = Operation(name=f"quick{number}")
        await status.say(install.accepted())
        async with status.live(f"operation:{install.id}") as live:
            assert said(await live.next()) == "accepted install"


async def test_a_tools_lines_are_told_from_now_on_without_those_of_its_operations(status: Running) -> None:
    install = await tell_a_story(status)
    for topic in ("logs:sample", f"logs:{install.tool}"):
        async with status.live(topic) as live:
            await status.say(printed(install, 10), chunk(install.tool, "main", 2, 2), chunk(install.tool, "side", 0))
            frames = await live.frames(2)
            await status.told_next(live, chunk(install.tool, "side", 1))
        assert lines_of(frames) == ["main 2", "main 3", "side 0"]
        assert (frames[0]["log"]["tool"], frames[0]["log"]["source"], frames[0]["log"]["first"]) == (
            install.tool,
            "main",
            2,
        )


async def test_a_cut_after_any_frame_leaves_no_gap_and_repeats_nothing(status: Running) -> None:
    before = Operation(name="before")
    await status.say(before.accepted())
    install = Operation()
    await status.say(install.accepted())
    topics = ("tools", f"operation:{install.id}", "logs:sample")
    async with status.live(*topics) as live:
        fence = await status.say(install.started())
        story: list[Message] = []
        for number in range(6):
            story += [
                printed(install, 2 * number, 2),
                install.begins("build", fence),
                chunk(install.tool, "main", number),
            ]
        await status.say(*story, install.succeeded(fence, tool()), observed())
        whole = await live.frames(1 + 1 + 6 * 3 + 2)
        assert len(set(events_of(whole))) == len(events_of(whole)) == 1 + 1 + 6 + 2
        assert len(set(lines_of(whole))) == len(lines_of(whole)) == 18
        whole += await status.told_next(live, observed(), chunk(install.tool, "main", 6))
    for cut in range(1, len(whole) + 1):
        events, lines, head = events_of(whole), lines_of(whole), whole[:cut]
        missing = len(lines) - len(lines_of(head))
        async with status.live(*topics, cursor=head[-1]["cursor"]) as live:
            tail = await live.frames(len(whole) - cut)
            if cut % 5 == 0:
                whole += await status.told_next(live, observed(), chunk(install.tool, "main", 6 + cut // 5))
        assert events_of(head) + events_of(tail) == events, f"cut after frame {cut}"
        both = lines_of(head) + lines_of(tail)
        assert missing == len(lines_of(tail))
        assert sorted(both) == sorted(lines)
        for source in (install.id, "main"):
            assert [text for text in both if text.startswith(source)] == [
                text for text in lines if text.startswith(source)
            ]


async def test_a_killed_nats_costs_no_frame_and_repeats_none(status: Running, stage: Stage) -> None:
    install = Operation()
    await status.say(install.accepted())
    total = 120

    async def happen() -> None:
        fence = await status.say(install.started())
        for number in range(total):
            await status.say(install.begins("build", fence), printed(install, number))

    async def collect(live: Follower) -> list[Frame]:
        return await live.frames(2 + 2 * total)

    async with status.live(f"operation:{install.id}") as live:
        collecting = asyncio.create_task(collect(live))
        happening = asyncio.create_task(happen())
        for _ in range(3):
            await asyncio.sleep(0.1)
            await stage.crash()
        await happening
        frames = await collecting
        await status.told_next(live, install.begins("build", 1), printed(install, total))
    assert lines_of(frames) == [f"{install.id} {number}" for number in range(total)]
    assert len(set(events_of(frames))) == len(events_of(frames)) == 2 + total
    assert not [frame for frame in frames if "gap" in frame]


async def test_a_restarted_service_goes_on_from_the_cursor_of_the_one_before(stage: Stage, tmp_path: Path) -> None:
    async with status_service(stage, tmp_path) as status:
        await tell_a_story(status)
        async with status.live("tools") as live:
            await status.say(observed(seconds=1))
            cursor = (await live.next())["cursor"]
    async with status_service(stage, tmp_path) as status:
        position = await status.say(observed(seconds=2))
        async with status.live("tools", cursor=cursor) as live:
            frame = await live.next()
    assert frame["event"]["data"]["observed_at"].endswith("00:00:02Z")
    assert parse_cursor(frame["cursor"]).events == position


async def test_lines_that_were_discarded_meanwhile_are_counted(status: Running, stage: Stage) -> None:
    install = await tell_a_story(status)
    async with status.live("logs:sample") as live:
        await status.say(chunk(install.tool, "main", 2, 3))
        cursor = (await live.next())["cursor"]
    await status.say(chunk(install.tool, "main", 5, 10))
    await stage.witness.jetstream.purge_stream(LOGS.name)
    await status.say(chunk(install.tool, "main", 15, 1))
    async with status.live("logs:sample", cursor=cursor) as live:
        gap, lines = await live.frames(2)
    assert gap["gap"] == {
        "stream": "logs",
        "reason": "these lines came faster than they could be kept, or are no longer kept",
        "source": "main",
        "missed": 10,
    }
    assert lines_of([lines]) == ["main 15"]


async def test_the_first_lines_of_an_operation_that_are_no_longer_kept_are_counted(
    status: Running, stage: Stage
) -> None:
    install = Operation()
    await status.say(install.accepted(), printed(install, 0, 7))
    await stage.witness.jetstream.purge_stream(LOGS.name)
    await status.say(printed(install, 7))
    async with status.live(f"operation:{install.id}") as live:
        frames = await live.frames(3)
    gaps = [frame["gap"]["missed"] for frame in frames if "gap" in frame]
    assert (gaps, lines_of(frames)) == ([7], [f"{install.id} 7"])


async def test_events_that_were_discarded_meanwhile_are_told(status: Running, stage: Stage) -> None:
    await tell_a_story(status)
    async with status.live("tools") as live:
        await status.say(observed(seconds=1))
        cursor = (await live.next())["cursor"]
    seen = parse_cursor(cursor).events or 0
    last = await status.say(observed(seconds=2), observed(seconds=3), observed(seconds=4))
    await stage.witness.jetstream.purge_stream(EVENTS.name, seq=last)
    async with status.live("tools", cursor=cursor) as live:
        gap, event = await live.frames(2)
    assert gap["gap"]["stream"] == "events"
    assert gap["gap"]["reason"] == f"events {seen + 1} to {last - 1} are no longer kept"
    assert event["event"]["data"]["observed_at"].endswith("00:00:04Z")


@pytest.mark.parametrize("foreign", ["another epoch", "beyond the end"])
async def test_a_cursor_of_other_streams_is_told_and_goes_on_with_now(status: Running, foreign: str) -> None:
    await tell_a_story(status)
    async with status.live("tools") as live:
        await status.say(observed(seconds=1))
        place = parse_cursor((await live.next())["cursor"])
    other = Place("aaaaaaaa", 1, 1) if foreign == "another epoch" else Place(place.epoch, 10_000, 0)
    async with status.live("tools", cursor=other.cursor()) as live:
        gaps = await live.frames(2)
        await status.say(observed(seconds=5))
        event = await live.next()
    assert [frame["gap"]["stream"] for frame in gaps] == ["events", "logs"]
    assert parse_cursor(gaps[0]["cursor"]).epoch == place.epoch
    assert event["event"]["data"]["observed_at"].endswith("00:00:05Z")


async def test_streams_made_anew_end_the_connection_and_its_cursor_goes_on(status: Running, stage: Stage) -> None:
    await tell_a_story(status)
    async with status.live("tools") as live:
        await status.say(observed(seconds=1))
        cursor = (await live.next())["cursor"]
        config = (await stage.witness.jetstream.stream_info("EVENTS")).config
        await stage.witness.jetstream.delete_stream("EVENTS")
        await stage.witness.jetstream.add_stream(config)
        with pytest.raises(ConnectionClosed) as closed:
            await live.next()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, "last cursor" in closed.value.rcvd.reason) == (1012, True)
    async with status.live("tools", cursor=cursor) as live:
        assert (await live.next())["gap"]["stream"] == "events"


async def test_fifty_followers_share_their_readers_and_leave_nothing_behind(status: Running, stage: Stage) -> None:
    install = await tell_a_story(status)
    sockets = [status.live("tools", f"operation:{install.id}", "logs:sample") for _ in range(50)]
    followers = await asyncio.gather(*(socket.__aenter__() for socket in sockets))
    whole = [await follower.frames(7 + 8) for follower in followers]
    assert {tuple(events_of(frames)) for frames in whole} == {tuple(events_of(whole[0]))}
    await stage.has_readers("LOGS", 1)
    await stage.has_readers("EVENTS", 2)
    await asyncio.gather(*(socket.__aexit__(None, None, None) for socket in sockets))
    await stage.has_readers("LOGS", 0)
    await stage.has_readers("EVENTS", 1)


async def test_who_does_not_read_for_a_while_keeps_nobody_waiting_and_misses_nothing(
    status: Running, stage: Stage
) -> None:
    """Far more than lies here for all: 10 MB."""
    install = Operation()
    await status.say(install.accepted())
    fence = await status.say(install.started())
    await status.say(install.succeeded(fence, tool(state=ToolState.RUNNING)))
    big = chunk(install.tool, "main", 0, 64)
    big = big.model_copy(update={"lines": tuple(line.model_copy(update={"text": "x" * 400}) for line in big.lines)})
    async with status.live("logs:sample") as idle, status.live("logs:sample") as eager:
        idle.socket.transport.pause_reading()
        for number in range(400):
            await status.say(big.model_copy(update={"first": 64 * number}))
            assert (await eager.next())["log"]["first"] == 64 * number
        await stage.has_readers("LOGS", 1)
        idle.socket.transport.resume_reading()
        for number in range(400):
            assert (await idle.next())["log"]["first"] == 64 * number
        await status.say(big.model_copy(update={"first": 64 * 400}))
        assert (await idle.next())["log"]["first"] == 64 * 400
        await stage.has_readers("LOGS", 1)


async def test_who_is_dead_is_dropped_with_all_that_was_on_its_way_to_him(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a machine that lost its line: it neither reads nor answers, nor does it say goodbye."""
    monkeypatch.setattr(server, "PING_EVERY", 0.5)
    monkeypatch.setattr(server, "PONG_WITHIN", 1.5)
    async with status_service(stage, tmp_path) as status:
        await tell_a_story(status)
        big = chunk(tool().id, "main", 2, 64)
        big = big.model_copy(update={"lines": tuple(line.model_copy(update={"text": "x" * 400}) for line in big.lines)})
        async with status.live("tools", "logs:sample") as dead, status.live("tools") as alive:
            dead.socket.transport.pause_reading()
            for number in range(400):
                await status.say(big.model_copy(update={"first": 2 + 64 * number}))
            await stage.has_readers("LOGS", 0)
            await status.say(observed(seconds=5))
            assert said(await alive.next()) == "tool-observed die"
            dead.socket.transport.abort()


async def test_a_platform_that_stops_says_so(stage: Stage, tmp_path: Path) -> None:
    async with status_service(stage, tmp_path) as status, status.live("tools") as live:
        receiving = asyncio.create_task(live.next())
        await asyncio.sleep(0.1)
        stopping = asyncio.create_task(status.stop())
        with pytest.raises(ConnectionClosed) as closed:
            await receiving
        await stopping
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012


async def test_an_event_nobody_can_read_does_not_end_the_connection(status: Running, stage: Stage) -> None:
    await tell_a_story(status)
    async with status.live("tools", "logs:sample") as live:
        await stage.witness.nats.publish(observed().subject, b"{]")
        await stage.witness.nats.publish(chunk(Operation().tool, "main", 0).subject, b"{]")
        await stage.witness.flush()
        await status.say(observed(seconds=9))
        assert (await live.next())["event"]["data"]["observed_at"].endswith("00:00:09Z")
