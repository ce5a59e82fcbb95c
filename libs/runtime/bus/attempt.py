"""One attempt at one command: the handler's work, watched by the record and the clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from libs.contracts.operations import OperationCancelled, OperationEnded, OperationFailed, OperationSucceeded
from libs.contracts.problems import Failure, Problem
from libs.contracts.tools import ToolCommand
from libs.runtime.bus.operation import (
    Away,
    CancelSeen,
    Changed,
    DeadlinePassed,
    Effect,
    Interrupted,
    Operation,
    Removed,
    Untouched,
)
from libs.runtime.bus.records import Record
from libs.runtime.bus.timing import Timing
from libs.runtime.bus.watch import under_watch

_EFFECTS: dict[type[Effect], Literal["changed", "removed", "none"]] = {
    Changed: "changed",
    Removed: "removed",
    Untouched: "none",
}


class Handler(Protocol):
    """One action. Both may be called again after a crash at any point, and must then come to the same."""

    async def act(self, command: Any, operation: Operation) -> Effect:
        """Do it. Raises `Failure` for what is expected to go wrong, `Away` for what may come back."""
        ...

    async def recover(self, command: Any, operation: Operation) -> Effect:
        """It failed or was cancelled: leave nothing half-done, and say truthfully what the tool is now."""
        ...


class Attempt:
    """One attempt of one handler, watched."""

    def __init__(self, handler: Handler, command: ToolCommand, operation: Operation, timing: Timing) -> None:
        self._handler = handler
        self._command = command
        self._operation = operation
        self._timing = timing

    async def outcome(self, record: Record) -> OperationEnded:
        """How the attempt ended, as the event to append. Raises `FencedOff`, or what nobody foresaw."""
        if record.cancel is not None:
            return await self.cancelled(record)
        try:
            effect = await under_watch(self._act, self._operation)
        except CancelSeen:
            return await self.cancelled(await self._read())
        except Failure as failure:
            if self._operation.doubtful():
                raise Interrupted(self._operation.id) from failure
            return await self._failed(failure.problem)
        except DeadlinePassed:
            return await self._failed(self._too_late())
        return self._ended(OperationSucceeded, effect)

    async def recovery(self) -> OperationEnded:
        problem = Problem(
            code="internal_error",
            message=f"MACHETE failed to carry this out {self._timing.max_attempts} times; its log says more.",
        )
        return await self._failed(problem)

    async def cancelled(self, record: Record) -> OperationEnded:
        """Undone as far as it can be; what was complete before the request came has succeeded."""
        self._operation.problem = None
        effect = await self._recovered()
        if effect.completed:
            return self._ended(OperationSucceeded, effect)
        by = record.cancel.requested_by.label if record.cancel else "nobody"
        problem = Problem(code="cancelled", message=f"Cancelled by {by}.")
        return self._ended(OperationCancelled, effect, error=problem)

    async def _failed(self, problem: Problem) -> OperationEnded:
        self._operation.problem = problem
        await self._operation.say(problem.message)
        return self._ended(OperationFailed, await self._recovered(), error=problem)

    async def _recovered(self) -> Effect:
        self._operation.relentless = True
        while True:
            try:
                return await self._handler.recover(self._command, self._operation)
            except Away as away:
                await self._operation.guard()
                await self._operation.say(f"waiting to clean up: {away}")
                await asyncio.sleep(self._timing.retry)

    async def _act(self) -> Effect:
        return await self._handler.act(self._command, self._operation)

    async def flush_log(self) -> None:
        """Nothing is said of an operation after its end: whoever follows its log stops there."""
        await self._operation.log.flush()

    async def _read(self) -> Record:
        return await self._operation.records.read(self._operation.tool, self._operation.id)

    def _too_late(self) -> Problem:
        limit = self._timing.deadlines[self._command.action]
        return Problem(
            code="deadline_exceeded",
            message=f"Not done within {limit:g} seconds, the most that {self._command.action} may take.",
        )

    def _ended(self, kind: type[OperationEnded], effect: Effect, **more: Any) -> OperationEnded:
        return kind(
            operation=self._command.operation,
            tool=self._command.tool,
            fence=self._operation.fence,
            effect=_EFFECTS[type(effect)],
            state=effect.tool if isinstance(effect, Changed) else None,
            ended_at=datetime.now(UTC),
            **more,
        )
