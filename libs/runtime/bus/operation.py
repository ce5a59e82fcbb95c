"""What a handler is given to work with: one operation under one fence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from libs.contracts.envelope import Message
from libs.contracts.operations import StepEnded, StepName, StepStarted
from libs.contracts.problems import Failure, Problem
from libs.contracts.streams import EVENTS, TASKS
from libs.contracts.subjects import STEP
from libs.contracts.tasks import Task, TaskEnded
from libs.contracts.tools import InstallTool, Tool
from libs.runtime.bus.clock import ticks
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.decide import Standing, standing
from libs.runtime.bus.failures import Refused
from libs.runtime.bus.logs import LogWriter
from libs.runtime.bus.records import Record, Records
from libs.runtime.bus.signals import Signals, woken
from libs.runtime.bus.states import States
from libs.runtime.bus.timing import Timing

# Seconds. How old what the record said may be when it is acted on. Who takes over from another waits for longer than
# that: a predecessor that looked in time has begun by then, and is told to stop, or has looked again.
FRESH = 0.05
HEAD_START = 2 * FRESH
# On a line so slow that every answer is late, the last of so many is as good as there is.
LOOKS = 3


class Away(Exception):
    """Something the handler needs is not there now, such as the engine: it is called again until the deadline."""


class FencedOff(Exception):
    """Another worker owns the operation, or it has ended: stop without a trace, and leave its command to that one."""


class CancelSeen(Exception):
    """The record asks for an end."""


class Interrupted(Exception):
    """The worker itself was silent for too long in the middle of it: to be begun anew by whoever is given it next."""


class DeadlinePassed(Exception):
    """The operation has taken as long as it may."""


@dataclass(frozen=True)
class Changed:
    """The tool is now this. `completed`: in answer to a cancel, that it came too late to undo what was asked for."""

    tool: Tool
    completed: bool = False


@dataclass(frozen=True)
class Removed:
    """The tool is gone, with all that was its own."""

    completed: bool = False


@dataclass(frozen=True)
class Untouched:
    """There is no tool, and nothing was done. Not `Removed`: one that is just about to be installed keeps its name."""

    completed: bool = False


Effect = Changed | Removed | Untouched


@dataclass
class Operation:
    """`before` is the tool as the last record left it, None when there is none yet.

    `problem` is what it fails with, known when a handler is asked to recover; None then means a cancel.
    """

    bus: Bus
    records: Records
    signals: Signals
    timing: Timing
    id: str
    tool: str
    fence: int
    deadline: datetime
    before: Tool | None
    alive: Callable[[], bool]
    lapsed: Callable[[], bool]
    doubtful: Callable[[], bool]
    log: LogWriter
    relentless: bool = False
    problem: Problem | None = None
    asked: list[Task] = field(default_factory=list[Task])

    @property
    def seconds_left(self) -> float:
        """Until its deadline, which another service may have set: by the time of NATS."""
        return (self.deadline - self.bus.clock.now()).total_seconds()

    async def guard(self) -> None:
        """Look again before each thing that changes the world: raises `FencedOff` or `CancelSeen`.

        An answer that we hear late, held up on its way or by a pause of ours, is asked for again.
        """
        for _ in range(LOOKS):
            asked = ticks()
            match standing(await self.records.read(self.tool, self.id), self.fence):
                case Standing.FENCED_OFF:
                    raise FencedOff(self.id)
                case Standing.CANCELLED if not self.relentless:
                    raise CancelSeen(self.id)
                case _ if ticks() - asked <= FRESH:
                    return
                case _:
                    continue

    async def say(self, *lines: str) -> None:
        """Lines for the operation's log."""
        await self.log.write(lines)

    @asynccontextmanager
    async def step(self, name: StepName, delivery: int = 0) -> AsyncGenerator[None]:
        """Says when a part begins, and how it ended, whatever ended it."""
        about = {"operation": self.id, "tool": self.tool, "fence": self.fence, "step": name}
        begun = StepStarted.model_validate({**about, "delivery": delivery, "started_at": datetime.now(UTC)})
        await self.bus.publish(EVENTS, begun, correlation=self.id)
        state: Literal["succeeded", "failed", "cancelled"] = "failed"
        try:
            yield
            state = "succeeded"
        except (asyncio.CancelledError, CancelSeen):
            state = "cancelled"
            raise
        finally:
            ended = StepEnded.model_validate({**about, "state": state, "ended_at": datetime.now(UTC)})
            await asyncio.shield(self.bus.publish(EVENTS, ended, correlation=self.id))

    async def begun(self, name: StepName) -> bool:
        """Whether this step was ever begun, by whatever worker and under whatever fence."""
        async for message in self._said():
            if isinstance(message, StepStarted) and message.step == name:
                return True
        return False

    async def last_step(self) -> StepName | None:
        """The step that was begun last, by whatever worker and under whatever fence."""
        found: StepName | None = None
        async for message in self._said():
            if isinstance(message, StepStarted):
                found = message.step
        return found

    async def _said(self) -> AsyncIterator[Message]:
        """All that was said of this operation beside its record."""
        subject = STEP.build({"tool": self.tool, "operation": self.id})
        async for kept in self.bus.each(EVENTS, subject):
            if (message := kept.message()) is not None:
                yield message

    async def install_undone(self) -> bool:
        """Whether there is no tool because its install was cancelled or failed, and not because it was uninstalled."""
        last = await States(self.bus).last_operation(self.tool) if self.before is None else None
        record = await self.records.read(self.tool, last) if last is not None else Record()
        return record.accepted is not None and record.accepted.kind == InstallTool.action

    async def ask(self, kind: type[Task], **given: Any) -> Tool | None:
        """Another service's part of this operation, done: its view of the tool. Raises `Failure` with its problem.

        `given` are the fields of the task that are its own.
        """
        task = kind(operation=self.id, tool=self.tool, fence=self.fence, deadline=self.deadline, **given)
        await self.guard()
        self.asked.append(task)
        await self._hand_over(task)
        ended = await self._answer(task)
        self.asked.remove(task)
        if ended.outcome == "succeeded":
            return ended.state
        problem = ended.error or Problem(code="cancelled", message=f"{kind.what} was cancelled.")
        raise Failure(problem.code, problem.message, problem.detail)

    async def _hand_over(self, task: Task) -> None:
        """Stored; a queue that takes no more is waited for, as long as there is time and we are the owner."""
        while True:
            try:
                await self.bus.publish(TASKS, task, id=f"{self.id}.{task.what}.{self.fence}", correlation=self.id)
                return
            except Refused as full:
                await self.say(f"waiting: the queue of {task.what} takes no more ({full})")
            await asyncio.sleep(self.timing.retry)
            await self.guard()

    async def _answer(self, task: Task) -> TaskEnded:
        with self.signals.of(self.id) as event:
            while True:
                event.clear()
                if (ended := await answered(self.bus, task)) is not None:
                    return ended
                await woken(event, self.timing.poll)

    async def result_of(self, kind: type[Task]) -> Tool | None:
        """What such a task made of the tool under whatever fence, if one succeeded; of several, the last."""
        found: Tool | None = None
        async for message in self._said():
            if isinstance(message, TaskEnded) and (message.what, message.outcome) == (kind.what, "succeeded"):
                found = message.state
        return found

    async def tasks_settled(self) -> None:
        """Waits until nobody works for this operation any more; at most the time in which a dead worker is noticed."""
        for task in tuple(self.asked):
            try:
                async with asyncio.timeout(2 * self.timing.ack_wait):
                    await self._answer(task)
            except TimeoutError:
                await self.say(f"{task.what} did not answer; going on without it")
            self.asked.remove(task)


async def answered(bus: Bus, task: Task) -> TaskEnded | None:
    """The answer to a task under its own fence, if there is one."""
    subject = STEP.build({"tool": task.tool, "operation": task.operation})
    async for kept in bus.each(EVENTS, subject, task.fence + 1):
        message = kept.message()
        if isinstance(message, TaskEnded) and (message.what, message.fence) == (task.what, task.fence):
            return message
    return None


async def begun_under(bus: Bus, task: Task) -> set[int]:
    """The deliveries under which work on a task was begun under its fence.

    However often each time: what waits for the engine begins its step again and again.
    """
    subject = STEP.build({"tool": task.tool, "operation": task.operation})
    found = set[int]()
    async for kept in bus.each(EVENTS, subject, task.fence + 1):
        message = kept.message()
        if isinstance(message, StepStarted) and (message.step, message.fence) == (task.step, task.fence):
            found.add(message.delivery)
    return found
