"""Whoever was behind and has caught up by himself sleeps only when there is nothing more for him."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from libs.contracts.streams import EVENTS, LOGS
from libs.runtime.bus.reader import extent
from services.status.domain.topics import EVERYTHING
from services.status.feeds import Feeds, Room
from services.status.frames import Entry
from services.status.sources import Part, Past, Source, source
from tests.status.service import chunk
from tests.status.stories import observed, tool
from tests.support.stage import Stage, eventually, staged

MOST = Room(messages=4, size=1_000_000)


@pytest.fixture(scope="module")
async def stage() -> AsyncGenerator[Stage]:
    async with staged() as stage:
        yield stage


class Sleeper:
    """Takes as a live connection does: again while there is something, and then not before it is woken."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.told: list[int] = []

    async def take(self, from_there: Source) -> bool:
        self.woken.clear()
        found = await from_there.some(MOST)
        self.told += [each.sequence for each in found if isinstance(each, Entry)]
        return bool(found) or self.woken.is_set()


@pytest.mark.parametrize("behind", range(MOST.messages - 1, 2 * MOST.messages + 2))
@pytest.mark.parametrize("past", [False, True], ids=["behind a place", "from a beginning"])
async def test_what_comes_while_the_last_that_was_read_apart_is_told_needs_nothing_else_to_come(
    stage: Stage, behind: int, past: bool
) -> None:
    begun = (await extent(stage.witness, EVENTS)).last
    for number in range(behind):
        await stage.witness.publish(EVENTS, observed(seconds=number))
    there = await extent(stage.witness, EVENTS)
    part = Part(EVENTS, EVENTS.subjects, frozenset((EVERYTHING,)), begun, there)
    if past:
        part = replace(part, after=there.last, past=Past((observed().subject,), begun))
    sleeper, feeds = Sleeper(), Feeds(stage.witness)
    async with (
        feeds.joined(EVENTS, EVENTS.subjects) as feed,
        source(stage.witness, feeds, part, sleeper.woken.set) as told,
    ):
        while told.place < there.last:
            assert await sleeper.take(told)
        last = (await stage.witness.publish(EVENTS, observed(seconds=behind))).sequence
        await eventually(lambda: feed.head == last, "the feed has it")
        while await sleeper.take(told):
            continue
    assert sleeper.told == list(range(begun + 1, last + 1))


async def test_of_what_one_reads_apart_as_many_bytes_are_taken_at_once_as_may(stage: Stage) -> None:
    begun = await extent(stage.witness, LOGS)
    for number in range(12):
        await stage.witness.publish(LOGS, chunk(tool().id, "main", 100 * number, 100))
    part = Part(LOGS, LOGS.subjects, frozenset((EVERYTHING,)), begun.last, await extent(stage.witness, LOGS))
    most, taken = Room(messages=64, size=15_000), list[list[int]]()
    async with source(stage.witness, Feeds(stage.witness), part, lambda: None) as told:
        while found := await told.some(most):
            taken.append([each.size for each in found if isinstance(each, Entry)])
    assert sum(map(len, taken)) == 12
    assert all(sum(sizes[:-1]) < most.size for sizes in taken)
    assert len(taken) > 3
