"""A worker in a process of its own, which writes down what it does and stops where it is told to.

Points inside the library are reached by wrapping its methods here, in this process: the library itself
knows nothing of tests.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from nats.aio.msg import Msg

from libs.contracts.letters import DeadLetter
from libs.contracts.operations import OperationAccepted, OperationEnded, OperationStarted
from libs.contracts.problems import Failure
from libs.contracts.streams import COMMANDS, TASKS
from libs.contracts.tasks import BuildRelease, DiscardTool, StartRelease, Task, TaskEnded, ToolTask
from libs.contracts.tools import (
    BuildTool,
    InstallTool,
    RestartTool,
    StartTool,
    StopTool,
    Tool,
    ToolCommand,
    ToolState,
    UninstallTool,
)
from libs.runtime.bus.connecting import connect
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.delivery import Delivery
from libs.runtime.bus.operation import Away, Changed, Effect, Operation, Removed, Untouched
from libs.runtime.bus.records import Record, Records
from libs.runtime.bus.states import States
from libs.runtime.bus.tasks import TaskWorker
from libs.runtime.bus.worker import Worker
from libs.runtime.children import Children
from tests.bus.effects import Effects
from tests.bus.losing import lose_answers
from tests.bus.orders import LOST, Job, Orders
from tests.bus.sketch import tool as sketch_tool

TICKER = Path(__file__).with_name("ticker.py")
TICK = 0.02


def main(orders: Orders) -> None:
    """The process."""
    output = os.open(orders.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.TimeStamper(),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
    )
    asyncio.run(Labourer(orders).run())


class Labourer:
    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.effects = Effects(orders.effects)
        bound = orders.timing.watchdog_bound
        self.children = Children(bound=bound, heartbeat=bound / 4)
        self.settled = ""
        self._halts = list(orders.halts)
        self._actions: dict[str, str] = {}

    async def run(self) -> None:
        orders = self.orders
        self._wrap()
        self._wrap_looks()
        async with AsyncExitStack() as stack:
            bus = await stack.enter_async_context(
                connect(orders.url, user=orders.user, password=orders.password, service=orders.user, source=orders.name)
            )
            if orders.loses:
                self._lose_the_first_answers(bus)
            if orders.mute:
                self._silence_heartbeats(bus)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            if orders.commands:
                consumer = COMMANDS.consumers[0 if orders.user == "installer" else 1]
                group.create_task(Worker(bus, consumer, self._handlers(), orders.timing).run())
            if orders.tasks and orders.user == "orchestrator":
                group.create_task(TaskWorker(bus, TASKS.consumers[0], self._task_handlers(), orders.timing).run())

    def _handlers(self) -> dict[type[ToolCommand], Any]:
        if self.orders.user == "installer":
            return {InstallTool: Installing(self)}
        return {kind: Labour(self) for kind in (BuildTool, StartTool, StopTool, RestartTool, UninstallTool)}

    def _task_handlers(self) -> dict[type[Task], Any]:
        return {kind: TaskLabour(self) for kind in (BuildRelease, StartRelease, DiscardTool)}

    def here(self, point: str, operation: str) -> None:
        """Dies or pauses, if that is what it was told to do at this point."""
        for halt in tuple(self._halts):
            if halt.point == point and halt.action in (None, self._actions.get(operation)):
                self._halts.remove(halt)
                os.kill(os.getpid(), halt.signal)

    async def work(self, job: Job, operation: Operation, name: str, what: str, seconds: float) -> None:
        """Takes as long as it should, seen from outside all the while."""
        with self._effect(operation, name, what):
            if job.child:
                await self._child(operation, name, what, seconds)
            else:
                await self._sleep(operation, name, what, seconds)
            self.here(f"mid {what}", operation.id)
            _trouble(job, what)

    async def _sleep(self, operation: Operation, name: str, what: str, seconds: float) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while (left := end - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(TICK, left))
            self._write(operation, name, what, "tick")

    async def _child(self, operation: Operation, name: str, what: str, seconds: float) -> None:
        prefix = f"{self.orders.name} {operation.tool} {operation.id} {operation.fence} {what}"
        argv = [sys.executable, "-I", "-S", str(TICKER), str(self.orders.effects), prefix, str(seconds)]
        self.here(f"before child of {what}", operation.id)
        async with self.children.run(argv, alive=operation.alive) as child:
            if await child.wait() != 0:
                raise Failure("child_failed", "The child process did not end well.")

    @contextmanager
    def _effect(self, operation: Operation, name: str, what: str) -> Generator[None]:
        self._write(operation, name, what, "begin")
        try:
            yield
        finally:
            self._write(operation, name, what, "end")

    def _write(self, operation: Operation, name: str, what: str, phase: str) -> None:
        self.effects.write(self.orders.name, operation.tool, operation.id, operation.fence, what, phase)

    def _wrap(self) -> None:
        """`before X` and `after X` of what a worker does on its way become points to stop at."""
        append, settle, release, ack = Records.append, States.record, States.release_name, Delivery.ack
        at_head, publish = Worker._at_head, Bus.publish  # pyright: ignore[reportPrivateUsage]
        points: dict[type[Any], str] = {TaskEnded: "answer", DeadLetter: "letter"}
        kinds = {OperationAccepted: "accepted", OperationStarted: "started", OperationEnded: "ended"}

        async def appending(records: Any, record: Any, event: Any, **more: Any) -> Any:
            point = next((name for kind, name in kinds.items() if isinstance(event, kind)), "cancel")
            return await self._at(point, event.operation, append(records, record, event, **more))

        async def settling(states: Any, ended: Any, sequence: int) -> None:
            await self._at("state", ended.operation, settle(states, ended, sequence))
            self.settled = ended.operation

        async def releasing(states: Any, *what: Any) -> None:
            await self._at("name", self.settled, release(states, *what))

        async def acknowledging(delivery: Any) -> None:
            await self._at("ack", getattr(delivery, "operation", ""), ack(delivery))

        async def publishing(bus: Any, stream: Any, message: Any, **more: Any) -> Any:
            point = points.get(type(message))
            stored = publish(bus, stream, message, **more)
            return await (stored if point is None else self._at(point, message.operation or "", stored))

        async def coming(worker: Any, command: Any, delivery: Any) -> bool:
            self._actions[command.operation] = command.action
            delivery.operation = command.operation
            return await at_head(worker, command, delivery)

        wrappers = {
            Records: {"append": appending},
            States: {"record": settling, "release_name": releasing},
            Delivery: {"ack": acknowledging},
            Bus: {"publish": publishing},
            Worker: {"_at_head": coming},
        }
        for wrapped, methods in wrappers.items():
            for name, wrapper in methods.items():
                setattr(wrapped, name, wrapper)

    def _wrap_looks(self) -> None:
        """`after look`: the record was read on behalf of a guard, which has not yet heard what it says."""
        guard, read = Operation.guard, Records.read
        guarded: set[str] = set()

        async def guarding(operation: Operation) -> None:
            guarded.add(operation.id)
            await guard(operation)

        async def reading(records: Records, tool: str, operation: str) -> Record:
            record = await read(records, tool, operation)
            if operation in guarded:
                self.here("after look", operation)
            return record

        for wrapped, name, wrapper in ((Operation, "guard", guarding), (Records, "read", reading)):
            setattr(wrapped, name, wrapper)

    async def _at(self, point: str, operation: str, doing: Awaitable[Any]) -> Any:
        self.here(f"before {point}", operation)
        done = await doing
        self.here(f"after {point}", operation)
        return done

    def _lose_the_first_answers(self, bus: Bus) -> None:
        seen: set[tuple[str, bytes]] = set()

        async def lost(subject: str, payload: bytes) -> bool:
            if (subject, payload) in seen:
                return False
            seen.add((subject, payload))
            print(LOST, subject, flush=True)
            return True

        lose_answers(bus, lost)

    def _silence_heartbeats(self, bus: Bus) -> None:
        ask: Callable[..., Awaitable[Msg]] = bus.nats.request

        async def asking(subject: str, payload: bytes = b"", **more: Any) -> Msg:
            return Msg(bus.nats) if payload == Msg.Ack.Progress else await ask(subject, payload, **more)

        bus.nats.request = asking  # pyright: ignore[reportAttributeAccessIssue]


def _trouble(job: Job, what: str) -> None:
    if job.kills:
        os.kill(os.getpid(), signal.SIGKILL)
    if what in ("recover", "discard"):
        return
    if job.breaks:
        raise RuntimeError(f"nobody foresaw this in {what}")
    if job.fails is not None:
        raise Failure(job.fails, "It was told to fail.")


@dataclass(frozen=True)
class Labour:
    """Start, stop, restart and uninstall."""

    labourer: Labourer

    async def act(self, command: ToolCommand, operation: Operation) -> Effect:
        job = self.labourer.orders.job(command.tool_name)
        if command.overtakes and await operation.install_undone():
            return Untouched()
        if operation.before is None:
            raise Failure("tool_gone", f"{command.tool_name} is not installed any more.")
        _look_for_engine(job)
        await operation.guard()
        await self.labourer.work(job, operation, command.tool_name, "act", job.seconds)
        return _done(command)

    async def recover(self, command: ToolCommand, operation: Operation) -> Effect:
        job = self.labourer.orders.job(command.tool_name)
        await self.labourer.work(job, operation, command.tool_name, "recover", job.recovery)
        if operation.before is None:
            return Removed()
        if job.too_late:
            done = _done(command)
            return Removed(completed=True) if isinstance(done, Removed) else Changed(done.tool, completed=True)
        reason = operation.problem.code if operation.problem else "cancelled"
        return Changed(operation.before.model_copy(update={"reason": reason}))


@dataclass(frozen=True)
class Installing:
    """As the installer does it: the other service's part by tasks, and nothing stays of one that failed."""

    labourer: Labourer

    async def act(self, command: InstallTool, operation: Operation) -> Effect:
        job = self.labourer.orders.job(command.tool_name)
        if not await States(operation.bus).holds_name(command):
            raise Failure("name_taken", f"The name {command.tool_name} went to another tool meanwhile.")
        await operation.guard()
        if not job.tasks:
            await self.labourer.work(job, operation, command.tool_name, "act", job.seconds)
            return Changed(sketch_tool(command.tool, command.tool_name))
        pending = sketch_tool(command.tool, command.tool_name, ToolState.PENDING)
        built = await operation.ask(BuildRelease, subject_tool=pending)
        if command.start and built is not None:
            built = await operation.ask(StartRelease, subject_tool=built)
        assert built is not None
        return Changed(built)

    async def recover(self, command: InstallTool, operation: Operation) -> Effect:
        job = self.labourer.orders.job(command.tool_name)
        await operation.tasks_settled()
        if await operation.begun("build"):
            await operation.ask(DiscardTool)
        elif not job.tasks:
            await self.labourer.work(job, operation, command.tool_name, "recover", job.recovery)
        return Removed()


@dataclass(frozen=True)
class TaskLabour:
    labourer: Labourer

    async def act(self, task: Task, operation: Operation) -> Tool | None:
        name = task.tool.rpartition("-")[0]
        job = self.labourer.orders.job(name)
        what = task.what.removeprefix("orchestrator.")
        _look_for_engine(job)
        if not task.relentless:
            await operation.guard()
        await self.labourer.work(job, operation, name, what, job.recovery if task.relentless else job.seconds)
        if not isinstance(task, ToolTask):
            return None
        state = ToolState.RUNNING if isinstance(task, StartRelease) else ToolState.STOPPED
        return task.subject_tool.model_copy(update={"state": state})


def _look_for_engine(job: Job) -> None:
    if job.away is not None and job.away.exists():
        raise Away("the engine does not answer")


def _done(command: ToolCommand) -> Changed | Removed:
    if isinstance(command, UninstallTool):
        return Removed()
    state = ToolState.STOPPED if isinstance(command, StopTool) else ToolState.RUNNING
    return Changed(sketch_tool(command.tool, command.tool_name, state))
