"""More than can be stored: what waits stays small, what is left out is counted, and a long log costs no more a line."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from nats.js.api import DiscardPolicy

from libs.contracts.logs import LogChunk
from libs.contracts.streams import LOGS
from libs.contracts.subjects import LOG
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.logs import HARD, SOFT, Line, LogWriter
from tests.bus.hub import Hub, on_both_servers
from tests.bus.losing import lose_answers
from tests.bus.test_logs import SOURCE, TOOL, chunks
from tests.support.stage import eventually

AT = "2026-11-21T08:20:18.123456Z"
WIDE = "x" * 1000


def lines(first: int, count: int, skipped: int = 0) -> list[Line]:
    return [
        Line(AT, f"{number} {WIDE}", skipped=skipped if number == first else 0)
        for number in range(first, first + count)
    ]


def counted(found: list[LogChunk]) -> tuple[list[int], int]:
    """The lines that are there, by what stands in them, and how many the numbers of the chunks leave out."""
    there: list[int] = []
    expected = missing = 0
    for chunk in found:
        missing += chunk.first - expected
        expected = chunk.first + len(chunk.lines)
        there += [int(line.text.split()[0]) for line in chunk.lines]
    return there, missing


@on_both_servers
async def test_what_waits_longer_than_there_is_room_for_makes_way_for_the_newest_and_is_counted(hub: Hub):
    """Nothing is stored while the test fills the writer: it is not told to flush."""
    writer = LogWriter(hub.witness, TOOL, SOURCE, exclusive=True)
    batch = SOFT // len(WIDE) // 2
    brought = 0
    while brought * len(WIDE) < 3 * HARD:
        await writer.offer(lines(brought, batch), 0)
        brought += batch
        assert writer.size <= HARD
    await writer.flush()
    there, missing = counted(await chunks(hub))
    assert there == list(range(missing, brought))
    assert missing > 0
    assert writer.size == 0


@on_both_servers
async def test_what_was_passed_over_before_it_came_here_is_left_out_of_the_numbers(hub: Hub):
    writer = LogWriter(hub.witness, TOOL, SOURCE, exclusive=True)
    await writer.offer([*lines(0, 3), *lines(10, 2, skipped=7), *lines(12, 1), *lines(113, 1, skipped=100)], 0)
    await writer.flush()
    found = await chunks(hub)
    assert [(chunk.first, len(chunk.lines)) for chunk in found] == [(0, 3), (10, 3), (113, 1)]
    again = LogWriter(hub.witness, TOOL, SOURCE, exclusive=True)
    await again.offer(lines(114, 1), 0)
    await again.flush()
    assert counted(await chunks(hub)) == ([0, 1, 2, 10, 11, 12, 113, 114], 107)


async def test_who_brings_more_than_is_stored_waits_for_room_where_there_is_time(hub: Hub):
    writer = LogWriter(hub.witness, TOOL, SOURCE, exclusive=True)
    async with asyncio.timeout(60), writer.writing():
        for number in range(8):
            await writer.offer(lines(number * 1000, 1000), None)
            assert writer.size <= SOFT
    assert counted(await chunks(hub)) == (list(range(8000)), 0)


async def test_an_outage_costs_lines_but_no_memory_and_goes_by(hub: Hub):
    writer = LogWriter(hub.witness, TOOL, SOURCE, exclusive=True)
    await writer.offer(lines(0, 1), 0)
    await writer.flush()
    await hub.server.kill()
    for number in range(20):
        await writer.offer(lines(1 + number * 1000, 1000), 0)
        assert writer.size <= HARD
    flushing = asyncio.create_task(writer.flush())
    await asyncio.sleep(0)
    await hub.server.start()
    try:
        await flushing
    except Unavailable:
        await writer.flush()
    there, missing = counted(await chunks(hub))
    assert len(there) + missing == 20_001
    assert there[-1] == 20_000


@pytest.mark.parametrize(
    "bound",
    [{"max_msgs": 1, "discard": DiscardPolicy.NEW}, {"max_msg_size": 64}],
    ids=["full", "of another mind"],
)
@on_both_servers
async def test_a_stream_that_refuses_for_a_while_costs_no_line_there_is_room_for(hub: Hub, bound: dict[str, Any]):
    """What there is no room for is counted; both go on by themselves as soon as it takes lines again."""
    tried: list[str] = []

    async def noted(subject: str, payload: bytes) -> bool:
        tried.append(subject)
        return False

    writer = LogWriter(hub.witness, TOOL, SOURCE, exclusive=True)
    await writer.offer(lines(0, 1), 0)
    await writer.flush()
    declared = (await hub.witness.jetstream.stream_info(LOGS.name)).config
    await hub.witness.jetstream.update_stream(declared.evolve(**bound))
    lose_answers(hub.witness, noted)
    async with asyncio.timeout(60), writer.writing():
        await writer.offer(lines(1, 10), None)
        await eventually(lambda: len(tried) > 1, "a refused chunk is tried again")
        for number in range(12):
            await writer.offer(lines(11 + number * 1000, 1000), 0)
        await hub.witness.jetstream.update_stream(declared)
        await writer.offer(lines(12_011, 1), None)
    there, missing = counted(await chunks(hub))
    assert there[:11] == list(range(11))
    assert there[-1] == 12_011
    assert missing > 0
    assert len(there) + missing == 12_012


@pytest.mark.parametrize("count", [60_000])
async def test_a_log_of_many_lines_costs_no_more_a_line_than_a_short_one(hub: Hub, count: int):
    """The least of several tries each: what else the machine does only ever adds."""

    async def seconds_each(source: str, lines: int) -> float:
        writer = LogWriter(hub.witness, TOOL, source)
        before = time.process_time()
        async with writer.writing():
            for first in range(0, lines, 100):
                await writer.write([f"line {number}" for number in range(first, first + 100)])
        return (time.process_time() - before) / lines

    short = min([await seconds_each(f"short-{number}", count // 10) for number in range(3)])
    long = min([await seconds_each(f"long-{number}", count) for number in range(2)])
    assert long < 2 * short, f"{1e6 * long:.1f} µs a line of {count}, {1e6 * short:.1f} of a tenth"
    last = await hub.witness.last(LOGS, LOG.build({"tool": TOOL, "source": "long-0"}))
    assert last is not None
    chunk = last.message()
    assert isinstance(chunk, LogChunk)
    assert chunk.first + len(chunk.lines) == count
