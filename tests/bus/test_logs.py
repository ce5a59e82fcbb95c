"""Log lines are numbered without gap or repeat, whoever writes and whatever gets lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from libs.contracts.logs import CHUNK_BYTES, CHUNK_LINES, LINE_BYTES, LogChunk
from libs.contracts.streams import LOGS
from libs.contracts.subjects import LOG
from libs.runtime.bus.logs import Line, LogWriter, Overtaken
from tests.bus.hub import Hub, on_both_servers
from tests.bus.losing import lose_answers

TOOL, SOURCE = "lathe-aaaaaa", "web"


async def chunks(hub: Hub) -> list[LogChunk]:
    subject = LOG.build({"tool": TOOL, "source": SOURCE})
    return [each async for each in hub.all(LOGS, subject) if isinstance(each, LogChunk)]


def numbered(chunks: Sequence[LogChunk]) -> list[str]:
    """The lines, after a look at whether each chunk begins where the one before ended."""
    lines: list[str] = []
    for chunk in chunks:
        assert chunk.first == len(lines), f"{len(lines)} lines came before number {chunk.first}"
        lines += [line.text for line in chunk.lines]
    return lines


def texts(count: int, writer: str = "line") -> list[str]:
    return [f"{writer} {number}" for number in range(count)]


@on_both_servers
async def test_lines_are_numbered_over_chunks_and_writers(hub: Hub):
    for _ in range(2):
        writer = LogWriter(hub.witness, TOOL, SOURCE)
        async with writer.writing():
            await writer.write(texts(CHUNK_LINES * 2 + 5))
    assert numbered(await chunks(hub)) == texts(CHUNK_LINES * 2 + 5) * 2


@on_both_servers
async def test_a_chunk_whose_answer_was_lost_is_stored_once(hub: Hub):
    calls: list[str] = []

    async def every_second(subject: str, payload: bytes) -> bool:
        calls.append(subject)
        return len(calls) % 2 == 1

    lose_answers(hub.witness, every_second)
    writer = LogWriter(hub.witness, TOOL, SOURCE)
    for _ in range(5):
        await writer.write(texts(10))
        await writer.flush()
    assert numbered(await chunks(hub)) == texts(10) * 5


@on_both_servers
async def test_two_writers_of_one_source_number_their_lines_as_one(hub: Hub):
    """The owner of an operation and the one who does its task write to the same log."""

    async def write(writer: LogWriter, name: str) -> None:
        for number in range(40):
            await writer.write([f"{name} {number}"])
            await writer.flush()

    first, second = (LogWriter(hub.witness, TOOL, SOURCE) for _ in range(2))
    await asyncio.gather(write(first, "first"), write(second, "second"))
    lines = numbered(await chunks(hub))
    assert [line for line in lines if line.startswith("first")] == texts(40, "first")
    assert [line for line in lines if line.startswith("second")] == texts(40, "second")


@on_both_servers
async def test_two_writers_lose_nothing_although_answers_get_lost(hub: Hub):
    calls: list[str] = []

    async def every_third(subject: str, payload: bytes) -> bool:
        calls.append(subject)
        return len(calls) % 3 == 0

    lose_answers(hub.witness, every_third)

    async def write(writer: LogWriter, name: str) -> None:
        for number in range(30):
            await writer.write([f"{name} {number}"])
            await writer.flush()

    await asyncio.gather(*(write(LogWriter(hub.witness, TOOL, SOURCE), name) for name in ("first", "second")))
    lines = numbered(await chunks(hub))
    assert sorted(lines) == sorted([*texts(30, "first"), *texts(30, "second")])


@on_both_servers
async def test_an_exclusive_writer_notices_that_another_one_writes(hub: Hub):
    first, second = (LogWriter(hub.witness, TOOL, SOURCE, exclusive=True) for _ in range(2))
    for writer in (first, second):
        await writer.write(["a"])
        await writer.flush()
    await first.write(["b"])
    with pytest.raises(Overtaken):
        await first.flush()
    assert numbered(await chunks(hub)) == ["a", "a"]


async def test_long_lines_are_cut_and_chunks_are_bounded(hub: Hub):
    writer = LogWriter(hub.witness, TOOL, SOURCE)
    await writer.write(["x" * (3 * LINE_BYTES), *["\N{PILE OF POO}" * 4000] * 6, ""])
    await writer.flush()
    found = await chunks(hub)
    lines = numbered(found)
    assert len(lines) == 8
    assert len(lines[0]) == LINE_BYTES + 1
    assert lines[-1] == ""
    sizes = [sum(len(line.text.encode()) for line in chunk.lines) for chunk in found if len(chunk.lines) > 1]
    assert all(size <= CHUNK_BYTES for size in sizes)


async def test_the_mark_of_the_last_line_is_found_by_the_next_writer(hub: Hub):

    writer = LogWriter(hub.witness, TOOL, SOURCE)
    await writer.offer(
        [Line("2026-11-21T08:20:18.123456Z", str(number), f"mark {number}") for number in range(3)], None
    )
    await writer.flush()
    later = LogWriter(hub.witness, TOOL, SOURCE)
    await later.position()
    assert writer.mark == later.mark == "mark 2"
