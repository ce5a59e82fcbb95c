"""What tools print is carried on whatever breaks on the way, and what broke is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import pytest

from libs.contracts.logs import LogChunk
from libs.contracts.streams import LOGS
from libs.contracts.subjects import LOG
from services.orchestrator.domain.log_frames import LogLine, LogPosition
from services.orchestrator.domain.specs import ContainerSpec
from services.orchestrator.follower import Follower
from services.orchestrator.ports import AT_LEISURE, Pace
from tests.orchestrator.behaviours import IMAGE
from tests.orchestrator.fake_engine import FakeContainers, FakeEngine, FakeFeed
from tests.support.stage import eventually, staged

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


async def test_a_log_that_cannot_be_read_is_told_of_and_read_once_it_can_be(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("services.orchestrator.follower.LOOK_AGAIN", 0.1)
    engine = FakeEngine()
    containers = FakeContainers(engine, INSTANCE)
    await containers.start(ContainerSpec(INSTANCE, TOOL, "r1r1r1r1r1r1", IMAGE))
    engine.of(INSTANCE)[0].print("hello")
    async with staged() as stage:
        bus = await stage.bus("orchestrator")
        follower = Follower(bus, containers, Garbled(engine, INSTANCE), asyncio.Event())
        following = asyncio.create_task(follower.run())

        async def carried() -> bool:
            chunks = [kept.message() async for kept in stage.witness.each(LOGS, LOG.filter(tool=TOOL))]
            return any(line.text == "hello" for each in chunks if isinstance(each, LogChunk) for line in each.lines)

        try:
            await eventually(carried, "the log is carried")
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    assert "a log cannot be followed; it is tried again" in "".join(capfd.readouterr())
