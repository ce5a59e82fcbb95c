"""What tools print is carried on whatever breaks on the way, and what broke is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import pytest

from libs.contracts.logs import LogChunk
from libs.contracts.streams import LOGS
from libs.contracts.subjects import LOG
from libs.runtime.bus.logs import Line, LogWriter
from services.orchestrator.domain.log_frames import LogLine, LogPosition
from services.orchestrator.domain.specs import ContainerSpec
from services.orchestrator.follower import Follower
from services.orchestrator.ports import AT_LEISURE, Pace
from tests.orchestrator.behaviours import IMAGE
from tests.orchestrator.fake_engine import FakeContainer, FakeContainers, FakeEngine, FakeFeed
from tests.support.stage import Stage, eventually, staged

INSTANCE, TOOL = "abcdefgh", "lathe-abcdef"


@dataclass(frozen=True)
class Garbled(FakeFeed):
    """Of a container's log it says at first what nobody can read."""

    garbled: list[str] = field(default_factory=list[str])

    async def follow_logs(
        self, container_id: str, after: LogPosition | None = None, pace: Pace = AT_LEISURE
    ) -> AsyncGenerator[list[LogLine], None]:
        if not self.garbled:
            self.garbled.append(container_id)
            raise ValueError("the engine's log stream is not framed")
        async for lines in FakeFeed.follow_logs(self, container_id, after, pace):
            yield lines


@dataclass(frozen=True)
class Ending(FakeFeed):
    """It has nothing to say of a container that runs, and ends."""

    begun: ClassVar[list[float]] = []

    async def follow_logs(
        self, container_id: str, after: LogPosition | None = None, pace: Pace = AT_LEISURE
    ) -> AsyncGenerator[list[LogLine], None]:
        self.begun.append(time.monotonic())
        for lines in list[list[LogLine]]():
            yield lines


@asynccontextmanager
async def following(stage: Stage, feed: type[FakeFeed] = FakeFeed) -> AsyncGenerator[FakeContainer]:
    """The container whose lines are followed."""
    engine = FakeEngine()
    containers = FakeContainers(engine, INSTANCE)
    await containers.start(ContainerSpec(INSTANCE, TOOL, "r1r1r1r1r1r1", IMAGE))
    follower = Follower(await stage.bus("orchestrator"), containers, feed(engine, INSTANCE), asyncio.Event())
    running = asyncio.create_task(follower.run())
    try:
        yield engine.of(INSTANCE)[0]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def held(stage: Stage) -> list[tuple[int, str]]:
    """Each line that LOGS has, with its number."""
    chunks = [kept.message() async for kept in stage.witness.each(LOGS, LOG.filter(tool=TOOL))]
    return [
        (each.first + place, line.text)
        for each in chunks
        if isinstance(each, LogChunk)
        for place, line in enumerate(each.lines)
    ]


async def until_held(stage: Stage, last: str) -> list[tuple[int, str]]:
    async def there() -> bool:
        return last in [text for _, text in await held(stage)]

    await eventually(there, f"{last!r} is carried")
    return await held(stage)


async def test_a_log_that_cannot_be_read_is_told_of_and_read_once_it_can_be(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("services.orchestrator.follower.LOOK_AGAIN", 0.1)
    async with staged() as stage, following(stage, Garbled) as container:
        container.print("hello")
        await until_held(stage, "hello")
    assert "a log cannot be followed; it is tried again" in "".join(capfd.readouterr())


@pytest.mark.parametrize("garbage", [None, b"no envelope"])
async def test_the_next_line_of_a_tool_whose_lines_are_gone_is_carried_alone_and_at_once(garbage: bytes | None) -> None:
    async with staged() as stage, following(stage) as container:
        for text in ("one", "two"):
            container.print(text)
            await until_held(stage, text)
        if garbage is None:
            await stage.witness.jetstream.purge_stream(LOGS.name)
        else:
            await stage.witness.jetstream.publish(LOG.build({"tool": TOOL, "source": "app"}), garbage)
        container.print("three")
        found = await until_held(stage, "three")
    assert found == ([] if garbage is None else [(0, "one"), (1, "two")]) + [(2, "three")]


async def test_a_line_that_another_writer_came_before_is_carried_without_another_line() -> None:
    async with staged() as stage, following(stage) as container:
        container.print("one")
        await until_held(stage, "one")
        other = LogWriter(stage.witness, TOOL, "app")
        await other.position()
        await other.offer([Line("2026-11-21T08:20:18Z", "another's", other.mark)], None)
        await other.flush()
        container.print("two")
        assert await until_held(stage, "two") == [(0, "one"), (1, "another's"), (2, "two")]


async def test_a_chunk_that_says_nothing_of_where_it_ends_costs_no_line_after_it() -> None:
    async with staged() as stage:
        other = LogWriter(stage.witness, TOOL, "app")
        await other.offer([Line("2026-11-21T08:20:18Z", "another's", "no place")], None)
        await other.flush()
        async with following(stage) as container:
            container.print("one")
            assert await until_held(stage, "one") == [(0, "another's"), (1, "one")]


async def test_a_log_that_ends_at_once_is_not_asked_for_without_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.orchestrator.follower.PAUSE", 0.3)
    monkeypatch.setattr("services.orchestrator.follower.LOOK_AGAIN", 0.05)
    Ending.begun.clear()
    async with staged() as stage, following(stage, Ending):
        await eventually(lambda: len(Ending.begun) > 3, "it is asked for again")
    assert all(after - before >= 0.3 for before, after in pairwise(Ending.begun))
