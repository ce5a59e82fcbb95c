"""What the orchestrator does when a command or a task arrives.

Each handler may be called again after a crash at any point. Before each thing that changes the engine it
looks at the record again; what the tool is afterwards is always read off the engine, never assumed.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from libs.contracts.problems import Failure
from libs.contracts.tasks import BuildRelease, DiscardTool, StartRelease, Task
from libs.contracts.tools import (
    BuildTool,
    RestartTool,
    StartTool,
    StopTool,
    Tool,
    ToolCommand,
    ToolState,
    UninstallTool,
)
from libs.runtime.bus.attempt import Handler
from libs.runtime.bus.operation import Away, Changed, Effect, Operation, Removed, Untouched
from libs.runtime.bus.tasks import TaskHandler
from services.orchestrator.domain.failures import DiskFull, EngineAway
from services.orchestrator.domain.plan import as_seen
from services.orchestrator.ports import Containers, Runner, Workshop
from services.orchestrator.rebuild import Rebuild
from services.orchestrator.repairing import as_it_stands, counted, is_out_of_date


@dataclass(frozen=True)
class Engine:
    """The one engine and the folders beside it, with what every handler does to a tool on it."""

    runners: Mapping[str, Runner]
    containers: Containers
    workshop: Workshop
    stop_timeout: float

    async def build(self, tool: Tool, operation: Operation) -> Tool:
        """Built, with everything made ready that it needs, so that starting is one step."""
        runner = self.runners[tool.kind]
        await operation.guard()
        built = await runner.build(tool, lambda lines: operation.say(*lines), operation.alive)
        await operation.guard()
        await runner.prepare(built, operation.alive)
        return built

    async def start(self, tool: Tool, operation: Operation) -> Tool:
        """Running and ready; what came up but not to readiness is stopped again by whoever recovers."""
        await operation.guard()
        started = await self.runners[tool.kind].start(tool, operation.alive)
        seen = await self.containers.observe(tool.id)
        up = as_seen(tool, seen, "running")
        return up.model_copy(update={"since": seen.observed_at}) if started else up

    async def run(self, tool: Tool) -> Tool:
        """Running, whether ready or not."""
        await self.runners[tool.kind].start(tool, wait=False)
        return as_seen(tool, await self.containers.observe(tool.id), "running")

    async def stop(self, tool: Tool, operation: Operation, failure: str | None = None) -> Tool:
        stopped = await self.containers.stop(tool.id, self.stop_timeout, operation.guard)
        return as_seen(tool, stopped, "stopped", failure)

    async def look(self, tool: Tool) -> Tool:
        """As it is now: wanted if anything of it runs."""
        seen = await self.containers.observe(tool.id)
        return as_seen(tool, seen, "running" if any(service.is_up for service in seen.services) else "stopped")


@dataclass(frozen=True)
class Start:
    engine: Engine

    async def act(self, command: StartTool, operation: Operation) -> Effect:
        if await is_out_of_date(command.repair, operation):
            return Untouched()
        tool = _installed(command, operation)
        with _awaiting_engine():
            async with operation.step("start"):
                return Changed(counted(await self.engine.start(tool, operation), command.repair))

    async def recover(self, command: StartTool, operation: Operation) -> Effect:
        """What ran before goes on; what this start brought up is stopped, unless it was to repair the tool."""
        if command.repair is not None:
            return await as_it_stands(self.engine.containers, command.repair, operation)
        return await _stopped_again(self.engine, command, operation)


@dataclass(frozen=True)
class Restart:
    engine: Engine

    async def act(self, command: RestartTool, operation: Operation) -> Effect:
        tool = _installed(command, operation)
        with _awaiting_engine():
            async with operation.step("stop"):
                await self.engine.stop(tool, operation)
            async with operation.step("start"):
                return Changed(await self.engine.start(tool, operation))

    async def recover(self, command: RestartTool, operation: Operation) -> Effect:
        """Cancelled, what ran before goes on as it stands; one that came up broken is stopped.

        The engine does not leave off a stop it was asked for: what ends by it is started again.
        """
        tool = operation.before
        if operation.problem is not None:
            return await _stopped_again(self.engine, command, operation)
        if tool is None or await operation.last_step() != "stop":
            return await _looked_at(self.engine, operation)
        try:
            stopped = await self.engine.stop(tool, operation)
            return Changed(await self.engine.run(tool) if tool.desired == "running" else stopped)
        except Failure as failure:
            return Changed(_unknown(tool, failure.message))


@dataclass(frozen=True)
class Stop:
    engine: Engine

    async def act(self, command: StopTool, operation: Operation) -> Effect:
        if await _came_to_nothing(command, operation):
            return Untouched()
        tool = _installed(command, operation)
        with _awaiting_engine():
            async with operation.step("stop"):
                return Changed(await self.engine.stop(tool, operation))

    async def recover(self, command: StopTool, operation: Operation) -> Effect:
        """The engine does not leave off a stop it was asked for, so one that has begun is brought to its end."""
        tool = operation.before
        if tool is None or operation.problem is not None or not await operation.begun("stop"):
            return await _looked_at(self.engine, operation)
        try:
            stopped = await self.engine.stop(tool, operation)
        except Failure as failure:
            return Changed(_unknown(tool, failure.message))
        return Changed(stopped, completed=stopped.state is ToolState.STOPPED)


@dataclass(frozen=True)
class Uninstall:
    engine: Engine

    async def act(self, command: UninstallTool, operation: Operation) -> Effect:
        """A broken tool can be uninstalled too: nothing here asks what state it is in."""
        if await _came_to_nothing(command, operation):
            return Untouched()
        _installed(command, operation)
        with _awaiting_engine():
            async with operation.step("remove"):
                await self._remove(command, operation)
        return Removed()

    async def recover(self, command: UninstallTool, operation: Operation) -> Effect:
        """Once removing has begun there is no way back: it is brought to its end."""
        if not await operation.begun("remove"):
            return await _looked_at(self.engine, operation)
        try:
            await self._remove(command, operation)
        except Failure as failure:
            if operation.problem is None:
                raise Away(failure.message) from failure
            return await _looked_at(self.engine, operation)
        return Removed(completed=operation.problem is None)

    async def _remove(self, command: UninstallTool, operation: Operation) -> None:
        about = {"images": True, "data": command.data}
        removed = await self.engine.containers.remove(command.tool, **about, guard=operation.guard)
        folder = await self.engine.workshop.remove(command.tool, data=command.data)
        kept = [*([str(folder)] if folder else []), *(f"the volume {name}" for name in removed.kept)]
        if kept:
            await operation.say(f"Its data stays: {', '.join(kept)}. No later install takes it over by itself.")


@dataclass(frozen=True)
class Build:
    engine: Engine

    async def act(self, task: BuildRelease, operation: Operation) -> Tool | None:
        """The built tool, with networks, folders and stopped containers made ready."""
        with _awaiting_engine():
            built = await self.engine.build(task.subject_tool, operation)
            return as_seen(built, await self.engine.containers.observe(task.tool), "stopped")


@dataclass(frozen=True)
class StartBuilt:
    engine: Engine

    async def act(self, task: StartRelease, operation: Operation) -> Tool | None:
        """As `Start`, but what does not come up, or not in time, is stopped here: the tool stays installed."""
        try:
            with _awaiting_engine():
                return await self.engine.start(task.subject_tool, operation)
        except Failure:
            await self._stop(task, operation)
            raise
        except asyncio.CancelledError:
            if operation.seconds_left <= 0:
                await self._stop_when_it_can_be(task, operation)
            raise

    async def _stop_when_it_can_be(self, task: StartRelease, operation: Operation) -> None:
        """Waits for an engine that is away, for as long as its owner waits for the answer."""
        while not operation.lapsed():
            await operation.guard()
            try:
                return await self._stop(task, operation)
            except Away as away:
                await operation.say(f"waiting to clean up: {away}")
                await asyncio.sleep(operation.timing.retry)

    async def _stop(self, task: StartRelease, operation: Operation) -> None:
        with _awaiting_engine():
            await self.engine.containers.stop(task.tool, self.engine.stop_timeout, operation.guard)


@dataclass(frozen=True)
class Discard:
    engine: Engine

    async def act(self, task: DiscardTool, operation: Operation) -> Tool | None:
        with _awaiting_engine():
            await self.engine.containers.remove(task.tool, images=True, data=True, guard=operation.guard)
            await self.engine.workshop.remove(task.tool, data=True)
        return None


def command_handlers(engine: Engine) -> dict[type[ToolCommand], Handler]:
    return {
        BuildTool: Rebuild(engine.containers, Build(engine)),
        StartTool: Start(engine),
        StopTool: Stop(engine),
        RestartTool: Restart(engine),
        UninstallTool: Uninstall(engine),
    }


def task_handlers(engine: Engine) -> dict[type[Task], TaskHandler]:
    return {BuildRelease: Build(engine), StartRelease: StartBuilt(engine), DiscardTool: Discard(engine)}


def _installed(command: ToolCommand, operation: Operation) -> Tool:
    if operation.before is None:
        way_out = "" if isinstance(command, UninstallTool) else f"; install it again to {command.action} it"
        raise Failure("tool_gone", f"{command.tool_name} is not installed any more{way_out}.")
    return operation.before


async def _came_to_nothing(command: ToolCommand, operation: Operation) -> bool:
    """Whether a command with `now` has what it asks for: the install that it cut short has left no tool."""
    if not command.overtakes or not await operation.install_undone():
        return False
    await operation.say(f"{command.tool_name} was not installed to its end: nothing is left to {command.action}.")
    return True


async def _stopped_again(engine: Engine, command: ToolCommand, operation: Operation) -> Effect:
    tool = operation.before
    if tool is None:
        return Untouched()
    if operation.problem is None and tool.state is ToolState.RUNNING:
        return await _looked_at(engine, operation)
    failure = operation.problem.message if operation.problem else None
    try:
        return Changed(await engine.stop(tool, operation, failure))
    except Failure as problem:
        return Changed(_unknown(tool, problem.message))


async def _looked_at(engine: Engine, operation: Operation) -> Effect:
    tool = operation.before
    if tool is None:
        return Untouched()
    try:
        return Changed(await engine.look(tool))
    except Failure as problem:
        return Changed(_unknown(tool, problem.message))


def _unknown(tool: Tool, reason: str) -> Tool:
    return tool.model_copy(update={"state": ToolState.UNKNOWN, "reason": reason, "since": datetime.now(UTC)})


@contextmanager
def _awaiting_engine() -> Generator[None]:
    """An engine that is not there is a reason to wait and no failure; a full disk is one that people mend."""
    try:
        yield
    except EngineAway as away:
        raise Away(away.message) from away
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull from error
