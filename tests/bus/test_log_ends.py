"""A writer goes on where it stood, whatever has become of the end of its log; only another writer's lines stop it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from libs.contracts.logs import LogChunk
from libs.contracts.streams import LOGS
from libs.contracts.subjects import LOG
from libs.runtime.bus.logs import Line, LogWriter, Overtaken
from tests.bus.hub import Hub, on_both_servers
from tests.bus.losing import lose_answers
from tests.bus.test_logs import SOURCE, TOOL

SUBJECT = LOG.build({"tool": TOOL, "source": SOURCE})


def lines(first: int, count: int) -> list[Line]:
    return [
        Line("2026-11-21T08:20:18.123456Z", f"line {number}", f"mark {number}")
        for number in range(first, first + count)
    ]


async def stored(writer: LogWriter, first: int, count: int) -> None:
    await writer.offer(lines(first, count), None)
    await writer.flush()


async def held(hub: Hub) -> list[tuple[int, list[str]]]:
    """The chunks that can be read: the number of the first line, and the lines."""
    chunks = [kept.message() async for kept in hub.witness.each(LOGS, SUBJECT)]
    return [(each.first, [line.text for line in each.lines]) for each in chunks if isinstance(each, LogChunk)]


async def all_gone(hub: Hub) -> None:
    await hub.witness.jetstream.purge_stream(LOGS.name, subject=SUBJECT)


async def newest_gone(hub: Hub) -> None:
    newest = await hub.witness.last(LOGS, SUBJECT)
    assert newest is not None
    await hub.witness.jetstream.delete_msg(LOGS.name, newest.sequence)


async def made_anew(hub: Hub) -> None:
    config = (await hub.witness.jetstream.stream_info(LOGS.name)).config
    await hub.witness.jetstream.delete_stream(LOGS.name)
    await hub.witness.jetstream.add_stream(config)


async def no_envelope(hub: Hub) -> None:
    await hub.raw(LOGS, SUBJECT, b"no envelope")
    await hub.raw(LOGS, SUBJECT, b"\xff" * 100)


async def no_chunk(hub: Hub) -> None:
    """An envelope, of a message that belongs elsewhere."""
    newest = await hub.witness.last(LOGS, SUBJECT)
    assert newest is not None
    await hub.raw(LOGS, SUBJECT, newest.data.replace(LogChunk.type.encode(), b"machete.log.other.v1"))
    await hub.raw(LOGS, SUBJECT, newest.data.replace(TOOL.encode(), b"other-aaaaaa"))


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("becomes", [all_gone, newest_gone, made_anew, no_envelope, no_chunk])
@on_both_servers
async def test_what_came_of_the_newest_chunk_keeps_no_line_back_and_numbers_and_mark_go_on(
    hub: Hub, becomes: Callable[[Hub], Awaitable[None]], exclusive: bool
):
    writer = LogWriter(hub.witness, TOOL, SOURCE, exclusive=exclusive)
    await stored(writer, 0, 3)
    await stored(writer, 3, 3)
    await becomes(hub)
    await stored(writer, 6, 1)
    assert writer.mark == "mark 6"
    await stored(writer, 7, 1)
    assert (await held(hub))[-2:] == [(6, ["line 6"]), (7, ["line 7"])]
    later = LogWriter(hub.witness, TOOL, SOURCE, exclusive=True)
    await later.position()
    assert later.mark == "mark 7"


@on_both_servers
async def test_who_writes_next_begins_behind_the_newest_chunk_that_can_be_read(hub: Hub):
    writer = LogWriter(hub.witness, TOOL, SOURCE, exclusive=True)
    for number in range(5):
        await stored(writer, number, 1)
        await stored(LogWriter(hub.witness, TOOL, "db"), number, 1)
    await no_envelope(hub)
    later = LogWriter(hub.witness, TOOL, SOURCE, exclusive=True)
    await later.position()
    assert later.mark == "mark 4"
    await stored(later, 5, 1)
    assert (await held(hub))[-1] == (5, ["line 5"])


@on_both_servers
async def test_another_writer_is_noticed_behind_what_cannot_be_read(hub: Hub):
    first = LogWriter(hub.witness, TOOL, SOURCE, exclusive=True)
    await stored(first, 0, 1)
    await stored(LogWriter(hub.witness, TOOL, SOURCE, exclusive=True), 1, 1)
    await no_envelope(hub)
    with pytest.raises(Overtaken):
        await stored(first, 1, 1)
    assert await held(hub) == [(0, ["line 0"]), (1, ["line 1"])]


@on_both_servers
async def test_a_chunk_whose_answer_was_lost_is_found_behind_what_cannot_be_read(hub: Hub):
    """The server has forgotten its id meanwhile."""
    config = (await hub.witness.jetstream.stream_info(LOGS.name)).config
    await hub.witness.jetstream.update_stream(config.evolve(duplicate_window=0.1))
    writer = LogWriter(hub.witness, TOOL, SOURCE, exclusive=True)
    await stored(writer, 0, 1)
    async with hub.connected("orchestrator", "orchestrator/other") as other:
        lost: list[str] = []

        async def first_one(subject: str, payload: bytes) -> bool:
            lost.append(subject)
            if len(lost) == 1:
                await other.jetstream.publish(SUBJECT, b"no envelope")
                await asyncio.sleep(1)
            return len(lost) == 1

        lose_answers(hub.witness, first_one)
        await stored(writer, 1, 1)
        await stored(writer, 2, 1)
    assert len(lost) > 1
    assert await held(hub) == [(number, [f"line {number}"]) for number in range(3)]


async def write_and_wait(writer: LogWriter, ends: type[BaseException] | None = None) -> None:
    async with writer.writing():
        await writer.offer(lines(1, 1), None)
        if ends is not None:
            raise ends
        await asyncio.Event().wait()


@on_both_servers
async def test_who_only_waits_is_told_at_once_that_somebody_else_writes(hub: Hub):
    first, second = (LogWriter(hub.witness, TOOL, SOURCE, exclusive=True) for _ in range(2))
    await stored(first, 0, 1)
    await stored(second, 1, 1)
    async with asyncio.timeout(20):
        with pytest.raises(Overtaken):
            await write_and_wait(first)


@pytest.mark.parametrize("ends", [TimeoutError, asyncio.CancelledError, ValueError])
async def test_what_ends_writing_is_told_as_it_came_and_what_was_written_is_stored(hub: Hub, ends: type[BaseException]):
    with pytest.raises(ends):
        await write_and_wait(LogWriter(hub.witness, TOOL, SOURCE, exclusive=True), ends)
    assert await held(hub) == [(0, ["line 1"])]


@on_both_servers
async def test_who_ends_just_as_another_one_is_noticed_is_told_of_it(hub: Hub):
    """The lines that were not stored are read again by whoever is told."""
    first, second = (LogWriter(hub.witness, TOOL, SOURCE, exclusive=True) for _ in range(2))
    await stored(first, 0, 1)
    await stored(second, 1, 1)

    async def until_noticed() -> None:
        async with first.writing():
            await first.offer(lines(1, 1), None)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return

    async with asyncio.timeout(20):
        with pytest.raises(Overtaken):
            await until_noticed()
