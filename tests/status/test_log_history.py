"""The last lines cost no more than they are, however long the history, and what is missing of it is told."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nats.js.errors import APIError

from libs.contracts.envelope import envelop
from libs.contracts.logs import LogChunk
from libs.contracts.queries import ShowOperation
from libs.contracts.streams import LOGS, MIB, Stream
from libs.contracts.subjects import LOG
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.log_shares import LogShares
from libs.runtime.bus.logs import LogWriter
from libs.runtime.bus.stored import Kept
from services.status import history
from services.status.domain import silence
from services.status.history import history_of
from services.status.lines import Printer, last_lines, tool_log
from tests.status.service import Running, chunk, printed, status_service, texts
from tests.status.stories import Operation, tool
from tests.support.nats_server import NATS_VERSIONS
from tests.support.stage import WITHIN, Stage, staged

TOOL, NEIGHBOUR = "lathe-aaaaaa", "quiet-aaaaaa"
WIDE = "x" * 12_000


@pytest.fixture(params=NATS_VERSIONS)
async def stage(request: pytest.FixtureRequest) -> AsyncGenerator[Stage]:
    async with staged(request.param) as stage:
        yield stage


@pytest.fixture
async def status(stage: Stage, tmp_path: Path) -> AsyncGenerator[Running]:
    async with status_service(stage, tmp_path) as running:
        yield running


async def lines(
    bus: Bus, tail: int | None, service: str | None = None, since: datetime | None = None
) -> list[dict[str, Any]]:
    """As they are printed."""
    told = await tool_log(bus, TOOL, asyncio.Lock(), service=service, follow=False, tail=tail, since=since)
    return [json.loads(line) for line in b"".join([piece async for piece in told]).splitlines()]


def printed_of(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what is told of lines that are missing."""
    return [line for line in found if "missed" not in line]


def time_of(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["time"])


async def store(stage: Stage, chunks: Sequence[LogChunk]) -> None:
    """In this order."""
    jetstream = stage.witness.nats.jetstream(timeout=20.0, publish_async_max_pending=1000)
    for first in range(0, len(chunks), 500):
        part = chunks[first : first + 500]
        asked = [await jetstream.publish_async(each.subject, envelop(each, "test/1").encode()) for each in part]
        await asyncio.gather(*asked)


def mixed(seed: int) -> list[LogChunk]:
    """Of two services and an operation of the tool and of a neighbour, in bursts: long gaps, small and large chunks."""
    dice = random.Random(seed)
    sources = [(TOOL, "web"), (TOOL, "db"), (TOOL, Operation().id), *[(NEIGHBOUR, f"s{number}") for number in range(3)]]
    printed = dict.fromkeys(sources, 0)
    found: list[LogChunk] = []
    for _ in range(60):
        source, most = dice.choice(sources), dice.choice((1, 1, 3, 40))
        for _ in range(dice.choice((1, 2, 30))):
            count = dice.randint(1, most)
            found.append(chunk(*source, printed[source], count))
            printed[source] += count
    return found


@pytest.mark.parametrize("seed", range(4))
async def test_a_tail_is_the_end_of_the_whole(stage: Stage, seed: int) -> None:
    bus = await stage.bus("status")
    await store(stage, mixed(seed))
    for service in (None, "web"):
        whole = await lines(bus, None, service)
        for tail in (0, 1, 2, 7, 60, 333, len(whole) - 1, len(whole), len(whole) + 1):
            assert await lines(bus, tail, service) == whole[-tail or len(whole) :], f"{tail} of {len(whole)}"
    told = [(each["service"], each["text"]) for each in (await lines(bus, None))[-50:]]
    assert [(service, line.text) for service, line in await last_lines(bus, TOOL, 50)] == told


async def test_the_last_lines_of_a_long_history_are_found_without_reading_it(stage: Stage) -> None:
    """What comes over the wire is counted: of large chunks as of small ones, also with much else in between."""
    bus = await stage.bus("status")
    large = [chunk(TOOL, "web", 400 * number, 400) for number in range(300)]
    small = [chunk(TOOL, "db", number) for number in range(1500)]
    others = [chunk(NEIGHBOUR, "web", number) for number in range(1500)]
    await store(stage, [*large, *others, *small, *others])
    for service, bytes_of_a_line in (("web", 80), ("db", 600)):
        before = bus.nats.stats["in_bytes"]
        found = await lines(bus, 100, service)
        assert [line["text"] for line in found] == [
            f"{service} {number}" for number in range({"web": 120_000, "db": 1500}[service])
        ][-100:]
        read = bus.nats.stats["in_bytes"] - before
        least = max(100, 400 if service == "web" else 0) * bytes_of_a_line
        assert read < 2 * history.TOO_MANY * least, f"{read} bytes read of {service}, where {least} are needed"


@pytest.mark.parametrize("seed", range(2))
async def test_what_was_printed_since_a_moment_is_what_is_as_late_of_the_whole(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Wherever the moment is, before all and after all included; with holes between what is kept."""
    monkeypatch.setattr(history, "AHEAD", timedelta(0))
    bus, dice = await stage.bus("status"), random.Random(seed)
    for _ in range(4):
        await store(stage, mixed(seed))
    for sequence in dice.sample(range(1, 800), 60):
        with suppress(APIError):  # another one of them is there no more
            await stage.witness.jetstream.delete_msg(LOGS.name, sequence)
    whole = printed_of(await lines(bus, None))
    moments = [time_of(whole[0]) - timedelta(days=1), datetime.now(UTC), *map(time_of, dice.sample(whole, 12))]
    for moment in moments:
        for tail in (None, 50):
            late = [line for line in whole[-(tail or len(whole)) :] if time_of(line) >= moment]
            assert printed_of(await lines(bus, tail, since=moment)) == late


async def test_what_was_printed_of_late_is_found_without_reading_the_rest(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "AHEAD", timedelta(0))
    bus = await stage.bus("status")
    await store(stage, [chunk(TOOL, "web", 400 * number, 400) for number in range(300)])
    moment = datetime.now(UTC)
    await store(stage, [chunk(TOOL, "web", 120_000, 3)])
    before = bus.nats.stats["in_bytes"]
    assert [line["text"] for line in await lines(bus, None, since=moment)] == [f"web {120_000 + n}" for n in range(3)]
    one, read = 400 * 80, bus.nats.stats["in_bytes"] - before
    assert read < 20 * one, f"{read} bytes read, where a chunk of the 300 has {one}"


async def test_a_tail_is_found_over_an_outage(stage: Stage) -> None:
    bus = await stage.bus("status")
    await store(stage, [chunk(TOOL, "web", number) for number in range(800)])
    kept = await history_of(bus, TOOL, None)
    await stage.crash()
    async with aclosing(kept.newest(bus, 100)) as newest:
        found = [each async for each in newest]
    assert len(found) == 100


async def garbled(stage: Stage, source: str, times: int = 1) -> None:
    for _ in range(times):
        await stage.witness.jetstream.publish(LOG.build({"tool": TOOL, "source": source}), b"{")


async def test_lines_that_cannot_be_read_are_told_as_such_and_counted(stage: Stage) -> None:
    bus = await stage.bus("status")
    await store(stage, [chunk(TOOL, "web", 0, 5), chunk(TOOL, "db", 0)])
    await garbled(stage, "web")
    await store(stage, [chunk(TOOL, "web", 9, 2), chunk(TOOL, "db", 4), chunk(TOOL, "web", 12)])
    for tail in (None, 9):
        found = await lines(bus, tail)
        assert [(each["text"], each["missed"]) for each in found if "missed" in each] == [
            ("[4 lines cannot be read, came faster than they could be kept, or are no longer kept]", 4),
            ("[3 lines came faster than they could be kept, or are no longer kept]", 3),
            ("[1 lines came faster than they could be kept, or are no longer kept]", 1),
        ]


async def test_many_who_read_logs_leave_everybody_else_his_turn_after_each_chunk() -> None:
    readers, chunks = 50, 20
    turns, others = asyncio.Lock(), 0
    said = [chunk(TOOL, "web", number) for number in range(chunks)]
    kept = [Kept(number + 1, each.subject, envelop(each, "test").encode()) for number, each in enumerate(said)]

    async def read_it() -> int:
        printer = Printer(turns, with_service=True)
        return sum([len((await printer.print(each)).splitlines()) for each in kept])

    async def be_somebody_else() -> None:
        nonlocal others
        while True:
            await asyncio.sleep(0)
            others += 1

    somebody = asyncio.create_task(be_somebody_else())
    try:
        assert await asyncio.gather(*(read_it() for _ in range(readers))) == [chunks] * readers
    finally:
        somebody.cancel()
    assert others >= readers * chunks


async def test_the_end_of_a_followed_log_is_asked_for_until_it_is_known(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = await stage.bus("status")
    await store(stage, [chunk(TOOL, "web", 0)])
    last, asked = bus.last, list[str]()

    async def last_after_a_while(stream: Stream, subject: str) -> Kept | None:
        asked.append(subject)
        if len(asked) % 2:
            raise Unavailable("no answer")
        return await last(stream, subject)

    async def gone() -> None:
        await store(stage, [chunk(TOOL, "web", 1)])

    monkeypatch.setattr(bus, "last", last_after_a_while)
    monkeypatch.setattr(silence, "ENOUGH", 0.0)
    async with asyncio.timeout(WITHIN):
        printing = await tool_log(bus, TOOL, asyncio.Lock(), follow=True, tail=0, gone=gone)
        found = b"".join([piece async for piece in printing])
    assert [json.loads(line)["text"] for line in found.splitlines()] == ["web 1"]


async def odd(stage: Stage, tool: str) -> None:
    """Under the tool's own subjects, but of no source that there can be."""
    await stage.witness.jetstream.publish(f"{LOG.filter(tool=tool).removesuffix('*')}Würd!", b"odd")


async def test_what_stands_under_no_source_that_can_be_costs_no_log_a_line(stage: Stage) -> None:
    bus = await stage.bus("status")
    await store(stage, [chunk(TOOL, "web", 0)])
    await odd(stage, TOOL)
    await store(stage, [chunk(TOOL, "web", 1)])
    for tail in (None, 2, 10):
        assert [each["text"] for each in await lines(bus, tail)] == ["web 0", "web 1"]
    assert [line.text for _, line in await last_lines(bus, TOOL, 5)] == ["web 0", "web 1"]


async def test_what_stands_under_no_source_that_can_be_ends_nobodys_following(status: Running, stage: Stage) -> None:
    install = Operation(name="followed")
    await status.say(install.accepted())
    position = await status.say(install.succeeded(await status.say(install.started()), tool("followed")))
    await status.ask(ShowOperation(operation=install.id, wait=10, position=position))
    path = "/api/v1/tools/followed/logs"
    async with status.followed(path, tail=0) as printing, status.live("logs:followed") as live:
        await status.say(chunk(install.tool, "web", 0))
        await odd(stage, install.tool)
        await status.say(chunk(install.tool, "web", 1))
        assert texts([await printing.next() for _ in range(2)]) == ["web 0", "web 1"]
        assert [frame["log"]["lines"][0]["text"] for frame in await live.frames(2)] == ["web 0", "web 1"]


async def test_a_tail_goes_on_before_what_cannot_be_read(stage: Stage) -> None:
    bus = await stage.bus("status")
    await store(stage, [chunk(TOOL, "web", number) for number in range(200)])
    await garbled(stage, "web", 50)
    assert [each["text"] for each in await lines(bus, 3)] == ["web 197", "web 198", "web 199"]


async def test_a_live_connection_is_told_of_lines_that_cannot_be_read(status: Running, stage: Stage) -> None:
    install = Operation()
    await status.say(install.accepted())
    await status.say(printed(install, 0, 2))
    await stage.witness.jetstream.publish(LOG.build({"tool": install.tool, "source": install.id}), b"{")
    await status.say(printed(install, 5), printed(install, 7))
    async with status.live(f"operation:{install.id}") as live:
        frames = await live.frames(6)
    gaps = [(frame["gap"]["reason"], frame["gap"]["missed"]) for frame in frames if "gap" in frame]
    assert gaps == [
        ("these lines cannot be read, came faster than they could be kept, or are no longer kept", 3),
        ("these lines came faster than they could be kept, or are no longer kept", 1),
    ]


async def flooded(stage: Stage, writer: LogWriter, first: int, turns: int) -> int:
    """More than there is room for, of which the oldest makes way; returns how many lines have been printed."""
    async with stage.connected("orchestrator") as bus:
        for turn in range(turns):
            await writer.write([f"{number} {WIDE}" for number in range(first + 5 * turn, first + 5 * turn + 5)])
            await writer.flush()
            await LogShares(bus).share()
    return first + 5 * turns


async def small(stage: Stage) -> None:
    config = (await stage.witness.jetstream.stream_info(LOGS.name)).config
    await stage.witness.jetstream.update_stream(config.evolve(max_bytes=4 * MIB))


def whole(found: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Of the lines and of what is told of them, which must come one after the other: how many, how many missing."""
    expected = missing = 0
    for line in found:
        if "missed" in line:
            missing += line["missed"]
            expected += line["missed"]
        else:
            assert int(line["text"].split()[0]) == expected
            expected += 1
    return expected, missing


async def test_who_follows_a_flood_is_told_exactly_how_many_lines_made_way(stage: Stage) -> None:
    await small(stage)
    bus = await stage.bus("status")
    writer = LogWriter(stage.witness, TOOL, "web", exclusive=True)
    await flooded(stage, writer, 0, 1)
    following = await tool_log(bus, TOOL, asyncio.Lock(), follow=True, tail=None)
    async with aclosing(following):
        found = [json.loads(line) for line in (await anext(following)).splitlines()]
        total = await flooded(stage, writer, 5, 150)
        await writer.write([f"{total} the end"])
        await writer.flush()
        while not found[-1]["text"].endswith("the end"):
            found += [json.loads(line) for line in (await anext(following)).splitlines()]
    printed, missing = whole(found)
    assert printed == total + 1
    assert missing > 0


async def test_the_log_of_a_build_without_end_says_how_many_of_its_lines_made_way(
    status: Running, stage: Stage
) -> None:
    await small(stage)
    install = Operation(name="flood")
    await status.say(install.accepted(), install.started())
    total = await flooded(stage, LogWriter(stage.witness, install.tool, install.id), 0, 100)
    response = await status.http.client.get(f"/api/v1/operations/{install.id}/log")
    found = [json.loads(line) for line in response.text.splitlines()]
    assert "missed" in found[0]
    assert whole(found)[0] == total


async def test_who_comes_back_to_a_flood_is_told_exactly_how_many_lines_made_way(status: Running, stage: Stage) -> None:
    await small(stage)
    install = Operation(name="flood")
    fence = await status.say(install.accepted(), install.started())
    await status.say(install.succeeded(fence, tool("flood")))
    writer = LogWriter(stage.witness, install.tool, "web", exclusive=True)
    async with status.live("logs:flood") as live:
        await flooded(stage, writer, 0, 1)
        cursor = (await live.next())["cursor"]
    total = await flooded(stage, writer, 5, 150)
    async with status.live("logs:flood", cursor=cursor) as live:
        gap, first = await live.frames(2)
    assert gap["gap"]["missed"] == first["log"]["first"] - 5 > 0
    assert first["log"]["first"] < total


async def test_who_looks_on_live_and_cannot_keep_up_with_a_flood_is_told_exactly_how_many_lines_made_way(
    status: Running, stage: Stage
) -> None:
    """More than lies in all the buffers on the way to him comes while he does not read."""
    await small(stage)
    install = Operation(name="flood")
    fence = await status.say(install.accepted(), install.started())
    await status.say(install.succeeded(fence, tool("flood")))
    writer = LogWriter(stage.witness, install.tool, "web", exclusive=True)
    async with status.live("logs:flood") as live:
        await flooded(stage, writer, 0, 1)
        total = await flooded(stage, writer, 5, 600)
        expected = missing = 0
        while expected < total:
            frame = await live.next()
            if "gap" in frame:
                missing += frame["gap"]["missed"]
                expected += frame["gap"]["missed"]
            else:
                assert frame["log"]["first"] == expected
                expected += len(frame["log"]["lines"])
    assert expected == total
    assert missing > 0
