"""The watcher and the reconciler on a real NATS server: what they ask for, how often, and what they leave alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from libs.contracts.engines import ToolObserved
from libs.contracts.manifest_values import Restart
from libs.contracts.operations import OperationCancelled, OperationEnded, OperationFailed
from libs.contracts.problems import Problem
from libs.contracts.streams import COMMANDS, EVENTS, STATES
from libs.contracts.subjects import TOOL_ENGINE, lane
from libs.contracts.tools import Repairs, StartTool, Tool, ToolRecorded, ToolState
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.records import Record, Records, accepted
from libs.runtime.bus.states import States
from services.orchestrator.domain.drift import Backoff
from services.orchestrator.domain.specs import ContainerSpec
from services.orchestrator.reconciler import Reconciler
from services.orchestrator.watcher import Watcher
from tests.bus import sketch
from tests.orchestrator.behaviours import IMAGE
from tests.orchestrator.fake_engine import FakeContainer, FakeContainers, FakeEngine, FakeFeed
from tests.support.stage import Stage, eventually, staged

INSTANCE = "abcdefgh"
INTERVAL = 0.2


@dataclass
class Place:
    """An engine in memory, and any number of orchestrators' watchers that look on."""

    stage: Stage
    bus: Bus
    engine: FakeEngine
    backoff: Backoff = field(default_factory=Backoff)

    @property
    def containers(self) -> FakeContainers:
        return FakeContainers(self.engine, INSTANCE)

    async def tool(self, restart: Restart = "unless-stopped", repairs: Repairs | None = None) -> Tool:
        """One that runs, on the engine and by its record."""
        tool = sketch.tool("lathe-abcdef", "lathe", ToolState.RUNNING)
        manifest = tool.release.manifest.model_copy(update={"restart": restart})
        release = tool.release.model_copy(update={"manifest": manifest, "image": IMAGE})
        tool = tool.model_copy(update={"release": release, "repairs": repairs})
        await self.record(tool, 1)
        await self.containers.start(ContainerSpec(INSTANCE, tool.id, release.id, IMAGE))
        return tool

    async def record(self, tool: Tool, fence: int) -> None:
        recorded = ToolRecorded(tool=tool.id, fence=fence, operation="op-" + "a" * 26, state=tool)
        await self.bus.publish(STATES, recorded)

    def container(self) -> FakeContainer:
        (found,) = self.engine.of(INSTANCE)
        return found

    async def asked(self, tool: Tool) -> list[StartTool]:
        """The commands that wait for the tool."""
        said = [kept.message() async for kept in self.bus.each(COMMANDS, lane(tool.id))]
        return [each for each in said if isinstance(each, StartTool)]

    async def is_asked(self, tool: Tool) -> StartTool:
        async def look() -> bool:
            return bool(await self.asked(tool))

        await eventually(look, "it is asked to start", 60)
        (command,) = await self.asked(tool)
        return command

    async def said(self, tool: Tool) -> list[ToolObserved]:
        heard = [kept.message() async for kept in self.bus.each(EVENTS, TOOL_ENGINE.build({"tool": tool.id}))]
        return [each for each in heard if isinstance(each, ToolObserved)]

    async def shows(self, tool: Tool, words: str) -> ToolObserved:
        async def look() -> bool:
            said = await self.said(tool)
            return bool(said) and words in (said[-1].reason or "")

        await eventually(look, f"it says: {words}", 60)
        return (await self.said(tool))[-1]

    async def looked_over(self, times: int = 3) -> None:
        """Returns when everything has been looked at so often."""
        before = self.engine.calls.count("observe_all")
        await eventually(lambda: self.engine.calls.count("observe_all") >= before + times, "all is looked over", 60)

    @asynccontextmanager
    async def watched(self, replicas: int = 1) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            watching: list[asyncio.Task[None]] = []
            for _ in range(replicas):
                bus = await stack.enter_async_context(self.stage.connected("orchestrator"))
                feed, reconciler = FakeFeed(self.engine, INSTANCE), Reconciler(bus, self.containers, self.backoff)
                watcher = Watcher(bus, States(bus), self.containers, feed, reconciler, interval=INTERVAL)
                watching.append(asyncio.create_task(watcher.run()))
                await eventually(lambda watcher=watcher: watcher.changed.is_set(), "it has looked at everything", 60)
            try:
                yield
                assert not [each for each in watching if each.done()], "a watcher broke"
            finally:
                for each in watching:
                    each.cancel()
                await asyncio.gather(*watching, return_exceptions=True)


@pytest.fixture
async def place() -> AsyncGenerator[Place]:
    async with staged() as stage:
        yield Place(stage, await stage.bus("witness"), FakeEngine())


async def test_two_that_look_on_ask_once_for_what_ended_and_name_the_record_they_judged_by(place: Place) -> None:
    tool = await place.tool()
    async with place.watched(replicas=2):
        place.engine.end(place.container(), 1)
        command = await place.is_asked(tool)
        await place.looked_over()
        assert len(await place.asked(tool)) == 1
    assert command.repair is not None
    assert (command.repair.judged_by, command.repair.tries, command.repair.undone) == (1, 1, 0)
    assert command.requested_by.label == "service:orchestrator"


async def test_who_looks_later_asks_for_nothing_that_was_asked_for(place: Place) -> None:
    """Also when the command has been carried out, or was cancelled before it began."""
    tool = await place.tool()
    place.engine.end(place.container(), 1)
    async with place.watched():
        command = await place.is_asked(tool)
    await Records(await place.stage.bus("orchestrator")).append(Record(), accepted(command))
    async with place.stage.connected("platform") as platform:
        await platform.jetstream.purge_stream(COMMANDS.name)
    async with place.watched():
        await place.looked_over()
        assert not await place.asked(tool)


def never_begun(command: StartTool, kind: type[OperationFailed] | type[OperationCancelled], why: str) -> OperationEnded:
    """The end of one that touched nothing: the tool's record stays as it was."""
    error = Problem(code="given_up", message=why)
    about = {"operation": command.operation, "tool": command.tool, "fence": 0}
    return kind(**about, effect="none", ended_at=datetime.now(UTC), error=error)


async def test_a_start_that_was_cancelled_before_it_began_is_left_and_this_is_said(place: Place) -> None:
    tool = await place.tool()
    place.engine.end(place.container(), 1)
    async with place.watched():
        command = await place.is_asked(tool)
        records = Records(await place.stage.bus("orchestrator"))
        record = await records.append(Record(), accepted(command))
        await records.append(record, never_begun(command, OperationCancelled, "Cancelled by user:ann."))
        async with place.stage.connected("platform") as platform:
            await platform.jetstream.purge_stream(COMMANDS.name)
        await place.shows(tool, "Starting it again was cancelled, so it is left so: start it again, or stop it.")
        await place.looked_over()
        assert not await place.asked(tool)


async def test_a_start_that_was_given_up_is_asked_for_again_after_its_pause(place: Place) -> None:
    place.backoff = Backoff(first=1.0)
    tool = await place.tool()
    place.engine.end(place.container(), 1)
    async with place.watched(replicas=2):
        first = await place.is_asked(tool)
        records = Records(await place.stage.bus("orchestrator"))
        record = await records.append(Record(), accepted(first))
        given_up = never_begun(first, OperationFailed, "Given up after 6 attempts.")
        await records.append(record, given_up)
        async with place.stage.connected("platform") as platform:
            await platform.jetstream.purge_stream(COMMANDS.name)
        await place.shows(tool, "Given up after 6 attempts. Try 2 to start it again follows at")
        again = await place.is_asked(tool)
        waited = datetime.now(UTC) - given_up.ended_at
        await place.looked_over()
        assert len(await place.asked(tool)) == 1
    assert again.operation != first.operation
    assert waited >= timedelta(seconds=place.backoff.pause(1, 1.0))
    assert again.repair is not None
    assert (again.repair.judged_by, again.repair.tries) == (1, 2)


async def test_while_somebody_is_at_work_on_the_tool_nothing_is_asked_for(place: Place) -> None:
    tool = await place.tool()
    gateway = await place.stage.bus("gateway")
    await gateway.publish(COMMANDS, sketch.command("stop", tool.id, tool.name))
    async with place.watched():
        place.engine.stop(place.container())
        await place.looked_over()
        assert not await place.asked(tool)
        stopped = tool.model_copy(update={"desired": "stopped", "state": ToolState.STOPPED})
        await place.record(stopped, 2)
        async with place.stage.connected("platform") as platform:
            await platform.jetstream.purge_stream(COMMANDS.name)
        await place.looked_over()
        assert not await place.asked(tool)


async def test_what_an_operation_ended_is_not_started_again_once_that_is_on_record(place: Place) -> None:
    """It was looked at while the operation was under way, and is judged when that is over."""
    tool = await place.tool()
    reconciler = Reconciler(place.bus, place.containers)
    place.engine.end(place.container(), 0)
    seen = await place.containers.observe(tool.id)
    judged = await reconciler.judge(tool, 1, seen)
    assert judged.drift is not None
    assert judged.drift.due is not None
    await place.record(tool.model_copy(update={"state": ToolState.STOPPED, "desired": "stopped"}), 2)
    await reconciler.act(judged, seen)
    assert not await place.asked(tool)


async def test_what_ended_while_an_operation_was_at_work_is_not_taken_for_somebody_s_doing(place: Place) -> None:
    tool = await place.tool()
    gateway = await place.stage.bus("gateway")
    await gateway.publish(COMMANDS, sketch.command("restart", tool.id, tool.name))
    async with place.watched():
        place.engine.stop(place.container())
        await place.looked_over()
        async with place.stage.connected("platform") as platform:
            await platform.jetstream.purge_stream(COMMANDS.name)
        command = await place.is_asked(tool)
    assert command.repair is not None
    assert command.repair.undone == 0


async def test_what_somebody_stopped_is_left_and_said_and_this_is_known_after_a_restart(place: Place) -> None:
    tool = await place.tool()
    async with place.watched(replicas=2):
        place.engine.stop(place.container())
        said = await place.shows(tool, "It was stopped by hand, outside MACHETE. It is left so")
        assert said.by_hand == (place.container().id,)
        assert said.state is ToolState.FAILED
    async with place.watched():
        await place.looked_over()
        await place.shows(tool, "It was stopped by hand")
        assert not await place.asked(tool)
        place.engine.run(place.container())

        async def runs() -> bool:
            last = (await place.said(tool))[-1]
            return (last.state, last.reason, last.by_hand) == (ToolState.RUNNING, None, ())

        await eventually(runs, "it is shown to run, and nothing is by hand any more", 60)
        place.engine.end(place.container(), 1)
        await place.is_asked(tool)


async def test_a_signal_that_ends_nothing_is_no_reason_for_a_later_end(place: Place) -> None:
    tool = await place.tool()
    async with place.watched():
        container = place.container()
        place.engine.happened(container, "kill")
        place.engine.run(container)
        place.engine.end(container, 1)
        command = await place.is_asked(tool)
    assert command.repair is not None
    assert command.repair.undone == 0


async def test_what_the_engine_tells_as_it_goes_down_is_nobody_s_doing(place: Place) -> None:
    tool = await place.tool()
    reconciler = Reconciler(await place.stage.bus("orchestrator"), place.containers)
    stopping = place.container()
    for heard_of_its_end in (False, True):
        place.engine.stop(stopping)
        for _, event in place.engine.history:
            reconciler.heard(event)
        if heard_of_its_end:
            reconciler.lost()
        judged = await reconciler.judge(tool, 1, await place.containers.observe(tool.id))
        assert judged.drift is not None
        assert (judged.drift.due is not None) is heard_of_its_end
        assert judged.by_hand == (() if heard_of_its_end else (stopping.id,))
        place.engine.run(stopping)
        place.engine.history.clear()
        reconciler.forget(tool.id)


@pytest.mark.parametrize("ending", ["kill", "destroy"])
async def test_the_end_of_somebody_s_own_container_is_nobody_s_doing(place: Place, ending: str) -> None:
    """One that carries the tool's labels; the tool's own, when it was renamed, is looked at like any other."""
    tool = await place.tool()
    reconciler = Reconciler(await place.stage.bus("orchestrator"), place.containers)
    theirs = replace(place.container(), id="f" * 64, doubtful=True)
    place.engine.kill(theirs)
    place.engine.happened(theirs, ending)
    place.engine.end(place.container(), 1)
    for _, event in place.engine.history:
        reconciler.heard(event)
    judged = await reconciler.judge(tool, 1, await place.containers.observe(tool.id))
    assert judged.drift is not None
    assert judged.by_hand == ()
    place.engine.history.clear()
    place.container().doubtful = True
    place.engine.run(place.container())
    place.engine.stop(place.container())
    for _, event in place.engine.history:
        reconciler.heard(event)
    judged = await reconciler.judge(tool, 1, await place.containers.observe(tool.id))
    assert judged.by_hand == (place.container().id,)


async def test_what_somebody_removed_is_asked_for_once_and_the_second_time_left(place: Place) -> None:
    tool = await place.tool()
    async with place.watched():
        place.engine.discard(place.container())
        command = await place.is_asked(tool)
        assert command.repair is not None
        assert command.repair.undone == 1
        async with place.stage.connected("platform") as platform:
            await platform.jetstream.purge_stream(COMMANDS.name)
        again = tool.model_copy(update={"repairs": Repairs(tries=1, undone=1, last=datetime.now(UTC))})
        await place.record(again, 2)
        await place.containers.start(ContainerSpec(INSTANCE, tool.id, tool.release.id, IMAGE))
        await place.looked_over()
        place.engine.discard(place.container())
        await place.shows(tool, "It was removed by hand after it had been started again")
        await place.looked_over()
        assert not await place.asked(tool)


async def test_what_was_undone_once_and_failed_is_not_taken_for_a_second_time(place: Place) -> None:
    place.backoff = Backoff(first=0.1)
    tool = await place.tool()
    async with place.watched(replicas=2):
        place.engine.discard(place.container())
        await place.is_asked(tool)
        failed = Repairs(tries=1, undone=1, last=datetime.now(UTC), problem="Its port is taken.")
        await place.record(tool.model_copy(update={"repairs": failed}), 2)
        async with place.stage.connected("platform") as platform:
            await platform.jetstream.purge_stream(COMMANDS.name)
        command = await place.is_asked(tool)
    assert command.repair is not None
    assert (command.repair.tries, command.repair.undone) == (2, 1)


async def test_a_pause_is_said_and_kept_and_then_it_is_asked_for(place: Place) -> None:
    place.backoff = Backoff(first=2.0, most=100, settled=600)
    failed = Repairs(tries=1, last=datetime.now(UTC), problem="Its port is taken.")
    tool = await place.tool(repairs=failed)
    place.engine.end(place.container(), 1)
    async with place.watched(replicas=2):
        await place.shows(tool, "Its port is taken. Try 2 to start it again follows at")
        command = await place.is_asked(tool)
        waited = datetime.now(UTC) - failed.last
    assert waited >= timedelta(seconds=place.backoff.pause(1, 1.0))
    assert command.repair is not None
    assert command.repair.tries == 2


async def test_a_full_queue_breaks_nothing_and_what_is_short_is_asked_for_when_there_is_room(place: Place) -> None:
    tool = await place.tool()
    async with place.stage.connected("platform") as platform:
        info = await platform.jetstream.stream_info(COMMANDS.name)
        room = info.config.max_bytes
        await platform.jetstream.update_stream(info.config.evolve(max_bytes=1))
        async with place.watched():
            place.engine.end(place.container(), 1)
            await place.looked_over()
            assert not await place.asked(tool)
            await platform.jetstream.update_stream(info.config.evolve(max_bytes=room))
            await place.is_asked(tool)


async def test_containers_of_a_tool_that_is_gone_are_taken_away_and_those_of_one_nobody_knows_stay(
    place: Place,
) -> None:
    tool = await place.tool()
    gone = ToolRecorded(tool=tool.id, fence=2, operation="op-" + "b" * 26, state=None)
    await place.containers.prepare(ContainerSpec(INSTANCE, "nobody-abcdef", tool.release.id, IMAGE))
    async with place.watched():
        await place.bus.publish(STATES, gone)
        await eventually(lambda: not place.engine.of(INSTANCE, tool.id), "what it left is taken away", 60)
        assert place.engine.of(INSTANCE, "nobody-abcdef")
        await place.containers.start(ContainerSpec(INSTANCE, tool.id, tool.release.id, IMAGE))
        await eventually(lambda: not place.engine.of(INSTANCE, tool.id), "and again", 60)


async def test_looking_over_a_hundred_tools_is_one_call_to_the_engine_and_says_nothing(place: Place) -> None:
    tools = [sketch.tool(f"tool-{number}-abcdef", f"tool-{number}", ToolState.RUNNING) for number in range(100)]
    for number, tool in enumerate(tools):
        await place.record(tool, number + 1)
        await place.containers.start(ContainerSpec(INSTANCE, tool.id, tool.release.id, IMAGE))
    async with place.watched():
        await place.looked_over()
        before = list(place.engine.calls)
        said = [len(await place.said(tool)) for tool in tools]
        await place.looked_over()
        more = place.engine.calls[len(before) :]
        assert set(more) <= {"observe_all", "ping", "events"}
        assert [len(await place.said(tool)) for tool in tools] == said
