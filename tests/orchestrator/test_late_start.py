"""A start within an install that comes to no end in its time leaves nothing running behind the tool's record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from libs.contracts.operations import OperationStarted
from libs.contracts.streams import TASKS
from libs.contracts.tasks import StartRelease
from libs.contracts.tools import Tool
from libs.runtime.bus.records import Record, Records, accepted
from libs.runtime.bus.tasks import TaskWorker, answered
from libs.runtime.bus.timing import Timing
from services.orchestrator.domain.specs import ContainerSpec
from services.orchestrator.handlers import Engine, task_handlers
from services.orchestrator.ports import Containers, Runner, Workshop, always
from tests.bus import sketch
from tests.orchestrator.behaviours import IMAGE
from tests.orchestrator.fake_engine import FakeContainers, FakeEngine
from tests.support.stage import eventually, staged

INSTANCE = "abcdefgh"


@dataclass(frozen=True)
class NeverReady:
    """Runs tools that come up and are then waited for in vain."""

    containers: Containers

    async def build(
        self, tool: Tool, log: Callable[[list[str]], Awaitable[None]], alive: Callable[[], bool] = always
    ) -> Tool:
        return tool

    async def prepare(self, tool: Tool, alive: Callable[[], bool] = always) -> None:
        await self.containers.prepare(ContainerSpec(INSTANCE, tool.id, tool.release.id, IMAGE))

    async def start(self, tool: Tool, alive: Callable[[], bool] = always, *, wait: bool = True) -> bool:
        await self.containers.start(ContainerSpec(INSTANCE, tool.id, tool.release.id, IMAGE))
        await asyncio.Event().wait()
        return True


@pytest.mark.parametrize("away", [False, True], ids=["there", "away"])
async def test_what_came_up_but_not_in_time_is_stopped_again_and_not_started_once_more(away: bool) -> None:
    """An engine that is away by then is waited for."""
    engine, install = FakeEngine(), sketch.install("lathe", start=True)
    containers, tool = FakeContainers(engine, INSTANCE), sketch.tool(install.tool, "lathe")
    runners: Mapping[str, Runner] = {"container": NeverReady(containers)}
    handlers = task_handlers(Engine(runners, containers, cast(Workshop, None), 1.0))
    async with staged() as stage:
        installer, bus = await stage.bus("installer"), await stage.bus("orchestrator")
        records, now = Records(installer), datetime.now(UTC)
        record = await records.append(Record(), accepted(install))
        deadline = now + timedelta(seconds=1)
        about = {"operation": install.operation, "tool": install.tool, "started_at": now, "deadline": deadline}
        record = await records.append(record, OperationStarted(worker="installer", attempt=1, **about))
        task = StartRelease(
            operation=install.operation, tool=install.tool, fence=record.fence, deadline=deadline, subject_tool=tool
        )
        await installer.publish(TASKS, task)
        working = asyncio.create_task(TaskWorker(bus, TASKS.consumers[0], handlers, Timing()).run())
        try:
            await eventually(lambda: bool(engine.of(INSTANCE)), "it comes up", 60)
            engine.away = away
            await eventually(lambda: "stop" in engine.calls, "it is to be stopped", 60)
            engine.away = False

            async def is_answered() -> bool:
                return await answered(bus, task) is not None

            await eventually(is_answered, "it is answered", 60)
            answer = await answered(bus, task)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
    assert answer is not None
    assert answer.error is not None
    assert answer.error.code == "deadline_exceeded"
    assert [each.state for each in engine.of(INSTANCE)] == ["exited"]
    assert engine.calls.count("start") == 1
