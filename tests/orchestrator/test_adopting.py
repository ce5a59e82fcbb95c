"""Tools of which the streams know nothing are taken over once, whoever does it and whatever is away meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest

from libs.contracts.operations import OperationSucceeded
from libs.contracts.streams import EVENTS, STATES, Reservation
from libs.contracts.subjects import RECORD
from libs.contracts.tools import Tool, ToolRecorded, ToolState
from libs.runtime import kept_instance
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.names import Names
from libs.runtime.bus.states import States
from services.orchestrator.adapters.kept_tools import DiskKeptTools
from services.orchestrator.adopting import Adopting
from services.orchestrator.keeper import Keeper
from tests.bus.sketch import tool
from tests.orchestrator.fake_engine import FakeContainers, FakeEngine
from tests.support.stage import Stage, eventually, staged

INSTANCE = "abcdefgh"
LATHE = tool("lathe-abcdef", "lathe")
DRILL = tool("drill-abcdef", "drill")


@dataclass
class Workplace:
    """A machine with an engine and folders, and a bus that knows nothing of them."""

    stage: Stage
    bus: Bus
    kept: DiskKeptTools
    engine: FakeEngine

    def adopting(self) -> Adopting:
        return Adopting(self.bus, States(self.bus), FakeContainers(self.engine, INSTANCE), self.kept)

    async def put(self, *tools: Tool) -> None:
        for each in tools:
            (self.kept.tools / each.id / "releases").mkdir(parents=True)
            await self.kept.put(each)

    async def state_of(self, tool: Tool) -> Tool | None:
        return await States(self.bus).read(tool.id)

    async def ends(self, tool: Tool) -> int:
        """How often an operation on it ended."""
        subject = RECORD.filter(tool=tool.id)
        said = [kept.message() async for kept in self.bus.each(EVENTS, subject)]
        return sum(isinstance(message, OperationSucceeded) for message in said)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Workplace]:
    async with staged() as stage:
        bus = await stage.bus("orchestrator")
        yield Workplace(stage, bus, DiskKeptTools(tmp_path / "tools", INSTANCE), FakeEngine())


async def test_several_that_do_it_at_once_do_it_once(place: Workplace) -> None:
    await place.put(LATHE, DRILL)
    async with place.stage.connected("orchestrator") as other:
        both = place.adopting(), Adopting(other, States(other), FakeContainers(place.engine, INSTANCE), place.kept)
        async with asyncio.timeout(30):
            await asyncio.gather(*(each.adopt_all() for each in both))
    for each in (LATHE, DRILL):
        state = await place.state_of(each)
        assert state is not None
        assert (state.source, state.release) == (each.source, each.release)
        assert await place.ends(each) == 1
    await place.adopting().adopt_all()
    assert await place.ends(LATHE) == 1


async def test_a_name_that_was_given_away_is_left_to_who_has_it(place: Workplace) -> None:
    """And all others are taken over."""
    await place.put(LATHE, DRILL)
    names = Names(await place.stage.bus("gateway"))
    other = Reservation(tool="lathe-zzzzzz", operation="op-" + "a" * 26, reserved_at=time.time())
    assert await names.reserve("lathe", other, 0)
    await place.adopting().adopt_all()
    assert await place.state_of(LATHE) is None
    assert (await names.find("lathe")).reservation == other
    assert await place.state_of(DRILL) is not None
    assert (await names.find("drill")).reservation is not None


async def test_an_engine_that_is_away_is_waited_for(place: Workplace) -> None:
    await place.put(LATHE)
    place.engine.away = True
    adopting = asyncio.create_task(place.adopting().adopt_all())
    await eventually(lambda: "observe" in place.engine.calls, "the engine is asked")
    assert await place.state_of(LATHE) is None
    place.engine.away = False
    async with asyncio.timeout(10):
        await adopting
    assert await place.state_of(LATHE) is not None


async def test_a_tool_that_the_streams_know_or_know_to_be_gone_is_left_alone(place: Workplace) -> None:
    await place.put(LATHE, DRILL)
    for each, state in ((LATHE, LATHE), (DRILL, None)):
        recorded = ToolRecorded(tool=each.id, fence=3, operation="op-" + "b" * 26, state=state)
        await place.bus.publish(STATES, recorded)
    await place.adopting().adopt_all()
    assert (await place.state_of(LATHE), await place.state_of(DRILL)) == (LATHE, None)
    assert await place.ends(LATHE) == await place.ends(DRILL) == 0


async def test_what_is_kept_follows_the_records(place: Workplace) -> None:
    await place.put(LATHE)
    (place.kept.tools / "ghost-abcdef").mkdir()
    stopped = LATHE.model_copy(update={"state": ToolState.STOPPED, "desired": "stopped", "port": 41_234})
    ghost = tool("ghost-abcdef", "ghost")

    async def record(id: str, state: Tool | None, fence: int) -> None:
        recorded = ToolRecorded(tool=id, fence=fence, operation="op-" + "c" * 26, state=state)
        await place.bus.publish(STATES, recorded)

    async def tools() -> tuple[Tool, ...]:
        return (await place.kept.all()).tools

    async def follows() -> bool:
        return await tools() == (stopped,)

    async def has_gone() -> bool:
        return await tools() == ()

    keeping = asyncio.create_task(Keeper(place.bus, place.kept).run())
    try:
        await record(ghost.id, ghost, 1)
        await record(LATHE.id, stopped, 2)
        await eventually(follows, "the last record is kept")
        await record(LATHE.id, None, 3)
        await eventually(has_gone, "what is gone is kept no more")
    finally:
        keeping.cancel()
    assert not (place.kept.tools / ghost.id / "releases").exists(), "a folder was made for a tool that has none"


def test_the_instance_is_remembered_by_the_folder_and_by_any_tool_in_it(tmp_path: Path) -> None:
    assert kept_instance.remembered(tmp_path) is None
    kept_instance.keep(tmp_path, INSTANCE)
    assert kept_instance.remembered(tmp_path) == INSTANCE
    (tmp_path / kept_instance.NAME).unlink()
    for id, text in (("a-abcdef", "{"), ("b-abcdef", "[]"), ("c-abcdef", f'{{"instance": "{INSTANCE}"}}')):
        (tmp_path / "tools" / id / "releases").mkdir(parents=True)
        (tmp_path / "tools" / id / "releases" / "kept.json").write_text(text)
    assert kept_instance.remembered(tmp_path) == INSTANCE
    (tmp_path / kept_instance.NAME).write_text("../../etc")
    assert kept_instance.remembered(tmp_path) == INSTANCE
