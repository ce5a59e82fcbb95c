"""What the projection knows of each tool, operation and engine."""

from datetime import datetime
from typing import Literal

from libs.contracts.envelope import Frozen
from libs.contracts.names import OperationId, ToolId, ToolName
from libs.contracts.operations import ENDED, Kind, OperationState
from libs.contracts.problems import Problem
from libs.contracts.releases import Source
from libs.contracts.tools import ServiceStatus, Tool, ToolState
from libs.contracts.views import StepView


class Judgement(Frozen):
    """A state, and since when. `since` moves only when `state` does."""

    state: ToolState
    reason: str | None = None
    since: datetime


class ToolEntry(Frozen):
    """A tool as of its last record (`tool`; None before there is one) and as the engine was seen to run it since.

    `install` is the operation that brings it; `working` the one that works on it now. `recorded` is the sequence
    of the end that `tool` came with and `fence` that end's own fence; `seen` the last sequence that told what is
    true on the engine. `held` is what was seen while an operation worked on it: it holds if that touched nothing.
    """

    id: ToolId
    name: ToolName
    engine: str = "local"
    tool: Tool | None = None
    source: Source
    install: OperationId | None = None
    created_at: datetime
    judged: Judgement
    held: Judgement | None = None
    services: tuple[ServiceStatus, ...] = ()
    working: OperationId | None = None
    recorded: int = 0
    fence: int = 0
    seen: int = 0
    gone: bool = False


class OperationEntry(Frozen):
    """`accepted` is the sequence of its first event; `fence` that of its newest start, 0 before it."""

    id: OperationId
    tool: ToolId
    tool_name: ToolName
    kind: Kind
    state: OperationState = OperationState.ACCEPTED
    error: Problem | None = None
    steps: tuple[StepView, ...] = ()
    requested_by: str
    cancel_requested: bool = False
    created_at: datetime
    ended_at: datetime | None = None
    retry_of: OperationId | None = None
    accepted: int
    fence: int = 0

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def step(self) -> StepView | None:
        """The one that runs now."""
        return next((step for step in reversed(self.steps) if step.state == "running"), None)


class EngineEntry(Frozen):
    """`lost` is the sequence at which it last went away, 0 if it never did: what was seen before may be wrong since."""

    name: str
    lost: int = 0
    lost_at: datetime | None = None
    reason: str | None = None


class RebuildEntry(Frozen):
    """A rebuild of the tables: as `libs.contracts.views.RebuildView` has it."""

    id: str
    state: Literal["running", "succeeded", "failed"] = "running"
    reason: str | None = None
    requested_by: str
    begun_at: datetime
    ended_at: datetime | None = None
    position: int = 0
    up_to: int = 0
    forgotten: int = 0
    tools: int = 0
    operations: int = 0
    differed: int = 0
    dropped: int = 0
