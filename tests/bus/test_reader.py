"""A reader misses nothing and repeats nothing, whatever happens to the server, and leaves nothing behind."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime

import pytest
from nats.js.api import StorageType

from libs.contracts.logs import LogChunk, LogLine
from libs.contracts.streams import EVENTS, LOGS
from libs.contracts.subjects import LOG
from libs.runtime.bus import reader
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.reader import Discarded, Replaced, count_by_subject, extent, read, read_until_now
from libs.runtime.bus.stored import Kept
from tests.support.nats_server import NATS_VERSIONS
from tests.support.stage import WITHIN, Stage, eventually, staged

TOOL = "sample-aaaaaa"
OTHER = "sample-bbbbbb"


@pytest.fixture(params=NATS_VERSIONS)
async def stage(request: pytest.FixtureRequest) -> AsyncGenerator[Stage]:
    async with staged(request.param) as stage:
        yield stage


def chunk(number: int, tool: str = TOOL, source: str = "main") -> LogChunk:
    return LogChunk(tool=tool, source=source, first=number, lines=(LogLine(time=datetime.now(UTC), text=str(number)),))


def subject(tool: str = TOOL, source: str = "main") -> str:
    return LOG.build({"tool": tool, "source": source})


async def write(stage: Stage, numbers: range, tool: str = TOOL) -> None:
    for number in numbers:
        await stage.witness.publish(LOGS, chunk(number, tool))


def number_of(kept: Kept) -> int:
    data = kept.open().data
    assert isinstance(data, LogChunk)
    return data.first


async def numbers(bus: Bus, count: int, after: int = 0, *, batch: int = 32) -> list[int]:
    """Of the first `count` messages that a reader brings."""
    found: list[int] = []
    async with asyncio.timeout(WITHIN), aclosing(read(bus, LOGS, [subject()], after, batch=batch)) as items:
        async for item in items:
            assert isinstance(item, Kept), item
            found.append(number_of(item))
            if len(found) == count:
                return found
    raise AssertionError("it ended by itself")


async def test_what_was_there_and_what_comes_is_read_in_order(stage: Stage) -> None:
    status = await stage.bus("status")
    await write(stage, range(50))
    reading = asyncio.create_task(numbers(status, 100, batch=7))
    await write(stage, range(50, 100))
    assert await reading == list(range(100))


async def test_only_the_subjects_asked_for_are_read(stage: Stage) -> None:
    status = await stage.bus("status")
    await write(stage, range(3), OTHER)
    await write(stage, range(3))
    assert await numbers(status, 3) == [0, 1, 2]


async def test_reading_goes_on_after_the_sequence_given(stage: Stage) -> None:
    status = await stage.bus("status")
    await write(stage, range(10))
    assert await numbers(status, 6, after=4) == [4, 5, 6, 7, 8, 9]


async def test_a_killed_server_costs_no_message_and_repeats_none(stage: Stage) -> None:
    status = await stage.bus("status")
    reading = asyncio.create_task(numbers(status, 300, batch=5))

    async def say() -> None:
        for number in range(300):
            await stage.witness.publish(LOGS, chunk(number), id=f"n{number}")

    saying = asyncio.create_task(say())
    for _ in range(3):
        await asyncio.sleep(0.05)
        await stage.crash()
    await saying
    assert await reading == list(range(300))


async def test_a_reader_whose_consumer_was_deleted_makes_itself_a_new_one(stage: Stage) -> None:
    status = await stage.bus("status")
    reading = asyncio.create_task(numbers(status, 6))
    await write(stage, range(3))
    for _ in range(3):
        for name in await stage.readers("LOGS"):
            await stage.witness.jetstream.delete_consumer("LOGS", name)
    await write(stage, range(3, 6))
    assert await reading == list(range(6))


async def test_a_reader_that_rests_longer_than_the_server_waits_goes_on_where_it_was(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.runtime.bus.reader.INACTIVE", 0.2)
    status = await stage.bus("status")
    await write(stage, range(9))
    found: list[int] = []
    async with asyncio.timeout(WITHIN), aclosing(read(status, LOGS, [subject()], 0, batch=3)) as items:
        async for item in items:
            assert isinstance(item, Kept)
            found.append(number_of(item))
            if len(found) == 4:
                await stage.has_readers("LOGS", 0)
            if len(found) == 9:
                break
    assert found == list(range(9))


async def test_a_slow_reader_is_never_sent_more_than_one_batch(stage: Stage) -> None:
    status = await stage.bus("status")
    await write(stage, range(100))
    async with asyncio.timeout(WITHIN), aclosing(read(status, LOGS, [subject()], 0, batch=4)) as items:
        first = await anext(items)
        assert isinstance(first, Kept)
        await asyncio.sleep(0.2)
        [info] = await stage.witness.jetstream.consumers_info("LOGS")
        assert info.delivered is not None
        assert info.delivered.consumer_seq == 4


async def test_a_reader_says_when_the_stream_no_longer_has_what_came_next(stage: Stage) -> None:
    status = await stage.bus("status")
    await write(stage, range(10))
    await stage.witness.jetstream.purge_stream("LOGS", seq=8)
    async with asyncio.timeout(WITHIN), aclosing(read(status, LOGS, [subject()], 2)) as items:
        assert await anext(items) == Discarded(2, 8)
        following = await anext(items)
    assert isinstance(following, Kept)
    assert following.sequence == 8


async def test_a_reader_that_saw_everything_is_not_told_of_what_was_discarded_behind_it(stage: Stage) -> None:
    """Also when most of it was under other subjects than its own."""
    status = await stage.bus("status")
    await write(stage, range(1))
    await write(stage, range(20), OTHER)
    found: list[Kept | Discarded] = []

    async def follow() -> None:
        async with aclosing(read(status, LOGS, [subject()], 1)) as items:
            async for item in items:
                found.append(item)
                return

    following = asyncio.create_task(follow())
    async with asyncio.timeout(WITHIN):
        await stage.has_readers("LOGS", 1)
        await stage.witness.jetstream.purge_stream("LOGS", seq=15)
        for name in await stage.readers("LOGS"):
            await stage.witness.jetstream.delete_consumer("LOGS", name)
        await write(stage, range(1, 2))
        await following
    assert [item.sequence if isinstance(item, Kept) else item for item in found] == [22]


async def test_a_stream_made_anew_is_not_taken_for_the_old_one(stage: Stage) -> None:
    status = await stage.bus("status")
    await write(stage, range(5))
    there = await extent(status, LOGS)
    config = (await stage.witness.jetstream.stream_info("LOGS")).config
    await stage.witness.jetstream.delete_stream("LOGS")
    await stage.witness.jetstream.add_stream(config)
    await write(stage, range(9))
    with pytest.raises(Replaced):
        await anext(read(status, LOGS, [subject()], 5, created=there.created))


async def test_sequences_that_the_stream_has_not_come_to_are_not_waited_for(stage: Stage) -> None:
    status = await stage.bus("status")
    with pytest.raises(Replaced):
        await anext(read(status, LOGS, [subject()], 5))


async def test_a_stream_keeps_its_identity_over_a_crash(stage: Stage) -> None:
    status = await stage.bus("status")
    before = await extent(status, EVENTS)
    await stage.crash()
    await eventually(lambda: status.connected, "connected again")
    assert await extent(status, EVENTS) == before


async def test_reading_until_now_ends_where_now_was(stage: Stage) -> None:
    status = await stage.bus("status")
    await write(stage, range(300))
    await write(stage, range(3), OTHER)
    stop = asyncio.Event()

    async def chatter() -> None:
        number = 300
        while not stop.is_set() and number < 500:
            await stage.witness.publish(LOGS, chunk(number))
            number += 1

    chattering = asyncio.create_task(chatter())
    async with asyncio.timeout(WITHIN):
        found = [number_of(kept) async for kept in read_until_now(status, LOGS, [subject()])]
    stop.set()
    await chattering
    assert found == list(range(len(found)))
    assert 300 <= len(found) < 500


async def test_reading_until_now_of_nothing_ends_at_once(stage: Stage) -> None:
    status = await stage.bus("status")
    await write(stage, range(3), OTHER)
    async with asyncio.timeout(WITHIN):
        assert [kept async for kept in read_until_now(status, LOGS, [subject()])] == []
        assert [kept async for kept in read_until_now(status, LOGS, [subject(OTHER)], 3)] == []


async def test_a_follower_can_be_told_where_the_end_is(stage: Stage) -> None:
    status = await stage.bus("status")
    await write(stage, range(3))
    end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    found: list[int] = []

    async def follow() -> None:
        async with aclosing(read(status, LOGS, [subject()], 0, end=end)) as items:
            async for item in items:
                assert isinstance(item, Kept)
                found.append(number_of(item))

    following = asyncio.create_task(follow())
    async with asyncio.timeout(WITHIN):
        await eventually(lambda: len(found) == 3, "all three are read")
        end.set_result(3)
        await following
    assert found == [0, 1, 2]


async def test_readers_leave_no_consumer_behind(stage: Stage) -> None:
    status = await stage.bus("status")
    await write(stage, range(3))

    async def follow() -> None:
        async with aclosing(read(status, LOGS, [subject()], 0)) as items:
            async for _ in items:
                continue

    following = [asyncio.create_task(follow()) for _ in range(50)]
    await stage.has_readers("LOGS", 50)
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    await stage.has_readers("LOGS", 0)


@pytest.mark.parametrize("bounded", ["by now", "by an end"])
async def test_a_reading_ends_though_the_rest_of_it_is_taken_away(
    stage: Stage, bounded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "HEARTBEAT", 0.2)
    status = await stage.bus("status")
    await write(stage, range(10))
    end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    end.set_result(10)
    if bounded == "by now":
        items = read_until_now(status, LOGS, [subject()], batch=2)
    else:
        items = read(status, LOGS, [subject()], 0, end=end, batch=2)
    async with asyncio.timeout(WITHIN), aclosing(items) as reading:
        assert number_of(_message(await anext(reading))) == 0
        await stage.witness.jetstream.purge_stream("LOGS", subject=subject())
        await write(stage, range(1), OTHER)
        rest = [number_of(item) async for item in reading if isinstance(item, Kept)]
    assert rest == [1], "what was on its way"


def _message(item: Kept | Discarded) -> Kept:
    assert isinstance(item, Kept), item
    return item


async def test_of_more_subjects_than_the_server_tells_at_once_each_is_counted() -> None:
    more = 100_000 + 3
    async with staged() as stage:
        jetstream = stage.witness.nats.jetstream(timeout=WITHIN, publish_async_max_pending=more)
        kept_in_files = (await jetstream.stream_info(LOGS.name)).config
        await jetstream.delete_stream(LOGS.name)
        await jetstream.add_stream(kept_in_files.evolve(storage=StorageType.MEMORY, max_bytes=-1))
        for first in range(0, more, 2000):
            sources = [f"s{number}" for number in range(first, min(more, first + 2000))]
            await asyncio.gather(*[await jetstream.publish_async(subject(source=each), b"x") for each in sources])
        await write(stage, range(2))
        counts = await count_by_subject(await stage.bus("orchestrator"), LOGS, LOG.filter(tool=TOOL))
        assert (len(counts), counts[subject()], sum(counts.values())) == (more + 1, 2, more + 2)
