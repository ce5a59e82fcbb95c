"""Whoever was behind and has caught up by himself sleeps only when there is nothing more for him."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from libs.contracts.streams import EVENTS
from libs.runtime.bus.reader import extent
from services.status.domain.topics import EVERYTHING
from services.status.feeds import Feeds
from services.status.frames import Entry
from services.status.sources import Part, Past, Source, source
from tests.status.stories import observed
from tests.support.stage import Stage, eventually, staged

MOST = 4


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


@pytest.mark.parametrize("behind", range(MOST - 1, 2 * MOST + 2))
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
