"""The operation: the life of one command, and the record that only these events may enter.

accepted → started (again after each crash) → succeeded | failed | cancelled, with at most one
cancel request between. Steps go to a subject of their own: an extra event in the record would
make the worker's terminal event fail its expectation.
"""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field

from libs.contracts.envelope import Message
from libs.contracts.names import OperationId, ToolId, ToolName
from libs.contracts.principals import Principal
from libs.contracts.problems import Problem
from libs.contracts.releases import Source
from libs.contracts.subjects import RECORD, STEP
from libs.contracts.tools import Tool

Kind = Literal["install", "build", "start", "stop", "restart", "uninstall"]


class OperationState(StrEnum):
    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED})


class Recorded(Message):
    """An event of the record."""

    subject_form = RECORD
    operation: OperationId
    tool: ToolId
    ends_as: ClassVar[OperationState | None] = None


class OperationAccepted(Recorded):
    """The command is stored: it will be carried out, whatever fails meanwhile. `retry_of` is the command's."""

    type = "machete.operation.accepted.v1"
    kind: Kind
    tool_name: ToolName
    requested_by: Principal
    digest: str
    created_at: datetime
    source: Source | None = None
    retry_of: OperationId | None = None


class OperationStarted(Recorded):
    """A worker took it on. The sequence of this event is its fence; a newer one fences it off.

    `delivery` counts how often the command had been handed out by then: who holds an earlier one lets go.
    """

    type = "machete.operation.started.v1"
    worker: str
    attempt: int = Field(ge=1)
    delivery: int = 0
    started_at: datetime
    deadline: datetime


class CancelRequested(Recorded):
    """Somebody wants it ended; whoever works on it undoes what it began and ends it as cancelled."""

    type = "machete.operation.cancel-requested.v1"
    requested_by: Principal


class OperationEnded(Recorded):
    """The terminal event. It carries the tool's whole new state, so no second message can be lost between.

    `effect`: `changed` (`state` is the tool now), `removed` (the tool is gone), or `none` (never touched:
    whatever was known of the tool still holds). `fence` is the sequence of the `started` it answers, 0 without one.
    """

    fence: int
    effect: Literal["changed", "removed", "none"]
    state: Tool | None = None
    ended_at: datetime


class OperationSucceeded(OperationEnded):
    """What was asked for is done."""

    type = "machete.operation.succeeded.v1"
    ends_as = OperationState.SUCCEEDED


class OperationFailed(OperationEnded):
    """It could not be done; `error` says why and what would help. Nothing is left half-done."""

    type = "machete.operation.failed.v1"
    ends_as = OperationState.FAILED
    error: Problem


class OperationCancelled(OperationEnded):
    """It was ended on request; `error` says on whose."""

    type = "machete.operation.cancelled.v1"
    ends_as = OperationState.CANCELLED
    error: Problem


StepName = Literal["fetch", "build", "start", "stop", "remove"]


class StepStarted(Message):
    """Part of an operation began under this fence; a step of a lower fence than the newest is history.

    `delivery` counts how often the task that it belongs to had been handed out by then, 0 where it is none.
    """

    type = "machete.operation.step-started.v1"
    subject_form = STEP
    operation: OperationId
    tool: ToolId
    fence: int
    step: StepName
    delivery: int = 0
    started_at: datetime


class StepEnded(Message):
    """The part that this fence began has ended, one way or another."""

    type = "machete.operation.step-ended.v1"
    subject_form = STEP
    operation: OperationId
    tool: ToolId
    fence: int
    step: StepName
    state: Literal["succeeded", "failed", "cancelled"]
    ended_at: datetime
