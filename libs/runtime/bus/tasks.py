"""Carries out tasks: work that another service asks for inside its operation."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import structlog

from libs.contracts.envelope import Undecodable, decode
from libs.contracts.names import is_operation_id
from libs.contracts.problems import Failure, Problem
from libs.contracts.streams import EVENTS, TASKS, Consumer
from libs.contracts.subjects import RECORD, TASK
from libs.contracts.tasks import Task, TaskEnded, ToolTask
from libs.contracts.tools import Tool
from libs.runtime import metrics, tracing
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.decide import Standing, standing
from libs.runtime.bus.delivery import Delivery
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.intake import Intake
from libs.runtime.bus.letters import keep
from libs.runtime.bus.logs import LogWriter
from libs.runtime.bus.operation import (
    CancelSeen,
    DeadlinePassed,
    FencedOff,
    Interrupted,
    Operation,
    answered,
    begun_under,
)
from libs.runtime.bus.records import Records
from libs.runtime.bus.signals import Signals
from libs.runtime.bus.timing import Timing
from libs.runtime.bus.watch import under_watch
from libs.runtime.children import OwnerGone
from libs.runtime.logging import bind

log = structlog.get_logger(__name__)

MAX_DELIVERIES = 5


class TaskHandler(Protocol):
    """One kind of task; may be called again after a crash. Cancelled work is undone by the operation's owner."""

    async def act(self, task: Any, operation: Operation) -> Tool | None:
        """The tool as the task leaves it, or None. Raises `Failure` or `Away`."""
        ...


class TaskWorker:
    """Tasks of one operation run one after the other; those of different ones at the same time."""

    def __init__(
        self, bus: Bus, consumer: Consumer, handlers: Mapping[type[Task], TaskHandler], timing: Timing
    ) -> None:
        self._bus = bus
        self._handlers = handlers
        self._timing = timing
        self._records = Records(bus)
        self._signals = Signals(bus)
        self._intake = Intake(bus, TASKS, consumer, timing, self._handle)
        self._places: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(timing.max_running))
        self._held: dict[tuple[str, str, int], Delivery] = {}
        self._consumer = consumer.name
        self._service = bus.source.partition("/")[0]

    async def run(self) -> None:
        async with self._signals.heard():
            await self._intake.run()

    async def _handle(self, delivery: Delivery) -> None:
        try:
            task = decode(delivery.data, delivery.subject).data
            if not isinstance(task, Task):
                raise Undecodable(f"{task.type} is no task")
        except Undecodable as problem:
            await self._refuse(delivery, str(problem))
            return
        key = (task.operation, task.what, task.fence)
        known = self._held.get(key)
        if known is not None:
            await _take_along(known, delivery)
            return
        self._held[key] = delivery
        with tracing.within(delivery.trace), bind(operation=task.operation, tool=task.tool):
            try:
                async with delivery.held():
                    await self._do(task, delivery)
            except FencedOff:
                await delivery.ack()
            except (Interrupted, Unavailable) as problem:
                log.warning("task left for a later delivery", problem=repr(problem))
            finally:
                del self._held[key]

    async def _refuse(self, delivery: Delivery, reason: str) -> None:
        """Kept, and its owner told as far as it can be found, so that he need not wait for his deadline."""
        async with delivery.held():
            answer = refusal(delivery, reason) or await self._refusal_to_owner(delivery, reason)
            if answer is not None:
                id = f"{answer.operation}.{answer.what}.{answer.fence}.ended"
                await self._bus.publish(EVENTS, answer, id=id, correlation=answer.operation)
            await keep(self._bus, TASKS, delivery, reason, answer)
        await delivery.term()

    async def _refusal_to_owner(self, delivery: Delivery, reason: str) -> TaskEnded | None:
        """The answer where only the subject says whose the task is: the record knows who works on that."""
        what, operation = _named(delivery.subject)
        last = await self._bus.last(EVENTS, RECORD.filter(operation=operation)) if is_operation_id(operation) else None
        if last is None:
            return None
        tool = RECORD.parse(last.subject)["tool"]
        record = await self._records.read(tool, operation)
        if record.ended is not None or not record.fence:
            return None
        return _unreadable(operation, tool, record.fence, what, reason)

    async def _do(self, task: Task, delivery: Delivery) -> None:
        """Answered exactly once under its fence, or dropped because nobody waits for it any more."""
        if await answered(self._bus, task) is not None:
            await delivery.ack()
            return
        record = await self._records.read(task.tool, task.operation)
        where = standing(record, task.fence)
        if where is Standing.FENCED_OFF:
            raise FencedOff(task.operation)
        if where is Standing.CANCELLED and not task.relentless:
            ended = _ended(task, "cancelled")
        else:
            with metrics.task(task.what) as outcome:
                ended = await self._attempt(task, delivery)
                outcome.append("retried" if ended is None else ended.outcome)
        if ended is None:
            await delivery.nak(self._timing.retry)
            return
        id = f"{task.operation}.{task.what}.{task.fence}.ended"
        await self._bus.publish(EVENTS, ended, id=id, correlation=task.operation)
        await delivery.ack()
        metrics.command_handled(self._service, task.what, ended.outcome)

    async def _attempt(self, task: Task, delivery: Delivery) -> TaskEnded | None:
        """None: it broke, and is tried again. Work that ended the whole process each time is not begun once more."""
        begun = await begun_under(self._bus, task)
        if delivery.lapsed() or any(each >= delivery.deliveries for each in begun):
            raise Interrupted(task.operation)
        if len(begun) < MAX_DELIVERIES:
            return await self._work(task, delivery)
        await keep(self._bus, TASKS, delivery, f"given up after {len(begun)} attempts", task)
        said = f"Given up {task.what} after {len(begun)} attempts, none of which came to an end."
        return _ended(task, "failed", error=Problem(code="given_up", message=said))

    async def _work(self, task: Task, delivery: Delivery) -> TaskEnded | None:
        writer = LogWriter(self._bus, task.tool, task.operation)
        operation = Operation(
            bus=self._bus,
            records=self._records,
            signals=self._signals,
            timing=self._timing,
            id=task.operation,
            tool=task.tool,
            fence=task.fence,
            deadline=task.deadline,
            before=task.subject_tool if isinstance(task, ToolTask) else None,
            alive=delivery.alive,
            lapsed=delivery.lapsed,
            doubtful=delivery.doubtful,
            log=writer,
            relentless=task.relentless,
        )
        async with writer.writing():
            try:
                state = await under_watch(lambda: self._act(task, operation, delivery.deliveries), operation)
                return _ended(task, "succeeded", state=state)
            except CancelSeen:
                return _ended(task, "cancelled")
            except DeadlinePassed:
                return _ended(task, "failed", error=_too_late(task))
            except Failure as failure:
                if delivery.doubtful():
                    raise Interrupted(task.operation) from failure
                return _ended(task, "failed", error=failure.problem)
            except OwnerGone as gone:
                raise Interrupted(task.operation) from gone
            except (FencedOff, Interrupted, Unavailable):
                raise
            except Exception as problem:
                return await self._broken(task, delivery, problem)

    async def _broken(self, task: Task, delivery: Delivery, problem: Exception) -> TaskEnded | None:
        log.exception("the task handler broke", task=task.what)
        if delivery.doubtful() or delivery.deliveries < MAX_DELIVERIES:
            return None
        await keep(self._bus, TASKS, delivery, f"{type(problem).__name__}: {problem}", task)
        said = f"MACHETE failed at {task.what} {MAX_DELIVERIES} times; its log says more."
        return _ended(task, "failed", error=Problem(code="internal_error", message=said))

    async def _act(self, task: Task, operation: Operation, delivery: int) -> Tool | None:
        """In one of the places of its kind: no start waits behind builds. Whoever waits for one is under watch too."""
        async with self._places[task.what]:
            with metrics.running.labels(self._consumer).track_inprogress():
                async with operation.step(task.step, delivery):
                    return await self._handlers[type(task)].act(task, operation)


def _too_late(task: Task) -> Problem:
    until = f"{task.deadline:%Y-%m-%d %H:%M:%S} UTC"
    message = f"{task.what} was not done by {until}, when the operation's time was over."
    return Problem(code="deadline_exceeded", message=message)


def refusal(delivery: Delivery, reason: str) -> TaskEnded | None:
    """The answer to a task that cannot be read, as far as it says itself whose it is."""
    what, operation = _named(delivery.subject)
    try:
        said: Any = json.loads(delivery.data)["data"]
        if said["operation"] != operation:
            return None
        return _unreadable(operation, said["tool"], said["fence"], what, reason)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _unreadable(operation: str, tool: str, fence: int, what: str, reason: str) -> TaskEnded:
    return TaskEnded(
        operation=operation,
        tool=tool,
        fence=fence,
        what=what,
        outcome="failed",
        error=Problem(code="undecodable", message=f"The task could not be read: {reason}"),
        ended_at=datetime.now(UTC),
    )


def _named(subject: str) -> tuple[str, str]:
    """What is to be done, and the operation, by the subject of a task; empty where it is of another form."""
    for what, form in TASK.items():
        if form.takes(subject):
            return what, form.parse(subject)["operation"]
    return "", ""


async def _take_along(known: Delivery, again: Delivery) -> None:
    """A task that is in hand already: handed out again, or stored twice, of which one is enough."""
    if again.sequence == known.sequence:
        known.adopt(again)
    else:
        await again.ack()


def _ended(
    task: Task,
    outcome: Literal["succeeded", "failed", "cancelled"],
    *,
    state: Tool | None = None,
    error: Problem | None = None,
) -> TaskEnded:
    return TaskEnded(
        operation=task.operation,
        tool=task.tool,
        fence=task.fence,
        what=task.what,
        outcome=outcome,
        state=state,
        error=error,
        ended_at=datetime.now(UTC),
    )
