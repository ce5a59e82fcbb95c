"""What an event makes of what was known before: the projection as a pure function.

Events come in the order of the stream, each once, so replaying them from the start leads to the same.
What does not fit what is known (an end under a lower fence, a step of an attempt that was given up) is history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar, cast

from libs.contracts.engines import EngineConnected, EngineLost, ToolObserved
from libs.contracts.envelope import Message
from libs.contracts.operations import (
    CancelRequested,
    OperationAccepted,
    OperationCancelled,
    OperationEnded,
    OperationFailed,
    OperationStarted,
    OperationState,
    Recorded,
    StepEnded,
    StepStarted,
)
from libs.contracts.tools import Tool, ToolRecorded, ToolState
from libs.contracts.views import StepView
from services.status.domain.entries import EngineEntry, Judgement, OperationEntry, ToolEntry


@dataclass(slots=True)
class Known:
    """What one event can be about. None: never heard of."""

    tool: ToolEntry | None = None
    operation: OperationEntry | None = None
    engine: EngineEntry | None = None


Entry = TypeVar("Entry", ToolEntry, OperationEntry)


def fold(known: Known, event: Message, sequence: int) -> Known:
    """What is known after the event with this sequence."""
    match event:
        case Recorded():
            operation = _recorded(known.operation, event, sequence)
            return Known(_worked_on(known, event, sequence), operation, known.engine)
        case StepStarted() | StepEnded():
            return Known(known.tool, _stepped(known.operation, event), known.engine)
        case ToolObserved():
            return Known(_observed(known.tool, event, sequence), known.operation, known.engine)
        case EngineLost():
            lost = EngineEntry(name=event.engine, lost=sequence, lost_at=event.observed_at, reason=event.reason)
            return Known(known.tool, known.operation, lost)
        case EngineConnected():
            return Known(known.tool, known.operation, known.engine or EngineEntry(name=event.engine))
        case _:
            return known


def recalled(recorded: ToolRecorded) -> ToolEntry | None:
    """A tool as STATE alone tells it; None if it is gone."""
    if recorded.state is None:
        return None
    return _of(recorded.state, sequence=recorded.fence, fence=0)


# Operations.


def _recorded(known: OperationEntry | None, event: Recorded, sequence: int) -> OperationEntry | None:
    """Of an operation whose beginning the stream no longer holds, nothing is shown."""
    if isinstance(event, OperationAccepted):
        return known or _accepted(event, sequence)
    if known is None or known.ended:
        return known
    match event:
        case OperationStarted():
            return _with(known, state=OperationState.RUNNING, fence=sequence, steps=())
        case CancelRequested():
            return _with(known, cancel_requested=True)
        case OperationEnded():
            return _ended(known, event)
        case _:
            return known


def _accepted(event: OperationAccepted, sequence: int) -> OperationEntry:
    return OperationEntry(
        id=event.operation,
        tool=event.tool,
        tool_name=event.tool_name,
        kind=event.kind,
        requested_by=event.requested_by.label,
        created_at=event.created_at,
        retry_of=event.retry_of,
        accepted=sequence,
    )


def _ended(known: OperationEntry, event: OperationEnded) -> OperationEntry:
    """Nothing of an operation goes on after its end, so a step that nobody ended has ended with it."""
    state = cast(OperationState, event.ends_as)
    end = cast(Literal["succeeded", "failed", "cancelled"], state.value)
    steps = tuple(_closed(step, end, event) if step.state == "running" else step for step in known.steps)
    error = event.error if isinstance(event, OperationFailed | OperationCancelled) else None
    return _with(known, state=state, error=error, steps=steps, ended_at=event.ended_at)


def _closed(
    step: StepView, state: Literal["succeeded", "failed", "cancelled"], event: OperationEnded | StepEnded
) -> StepView:
    return StepView(name=step.name, state=state, started_at=step.started_at, ended_at=event.ended_at)


def _stepped(known: OperationEntry | None, event: StepStarted | StepEnded) -> OperationEntry | None:
    """Steps are those of the newest attempt."""
    if known is None or known.ended or event.fence != known.fence:
        return known
    others = tuple(step for step in known.steps if step.name != event.step)
    if isinstance(event, StepStarted):
        begun = StepView(name=event.step, state="running", started_at=event.started_at, ended_at=None)
        return _with(known, steps=(*others, begun))
    steps = tuple(_closed(step, event.state, event) if step.name == event.step else step for step in known.steps)
    return _with(known, steps=steps)


# Tools.


def _worked_on(known: Known, event: Recorded, sequence: int) -> ToolEntry | None:
    tool = known.tool
    match event:
        case OperationAccepted() if tool is None and event.kind == "install" and event.source is not None:
            judged = Judgement(state=ToolState.PENDING, since=event.created_at)
            return ToolEntry(
                id=event.tool,
                name=event.tool_name,
                source=event.source,
                install=event.operation,
                created_at=event.created_at,
                judged=judged,
            )
        case OperationStarted() if tool is not None and not _has_ended(known.operation):
            return _with(tool, working=event.operation)
        case OperationEnded() if not _has_ended(known.operation):
            return _after_the_end(tool, event, sequence)
        case _:
            return tool


def _has_ended(operation: OperationEntry | None) -> bool:
    return operation is not None and operation.ended


def _after_the_end(tool: ToolEntry | None, event: OperationEnded, sequence: int) -> ToolEntry | None:
    if tool is None:
        return _of(event.state, sequence, event.fence) if event.effect == "changed" and event.state else None
    over = tool.working == event.operation
    working = None if over else tool.working
    if event.effect == "none" or event.fence < tool.fence or sequence <= tool.recorded:
        never_came = tool.tool is None and tool.install == event.operation
        judged, held = (tool.held or tool.judged, None) if over else (tool.judged, tool.held)
        return _with(tool, working=working, judged=judged, held=held, gone=tool.gone or never_came)
    if event.effect == "removed" or event.state is None:
        return _with(tool, working=working, held=None, recorded=sequence, fence=event.fence, gone=True)
    return _of(event.state, sequence, event.fence, working)


def _of(tool: Tool, sequence: int, fence: int, working: str | None = None) -> ToolEntry:
    """A tool just as its record says."""
    return ToolEntry(
        id=tool.id,
        name=tool.name,
        engine=tool.engine,
        tool=tool,
        source=tool.source,
        created_at=tool.installed_at,
        judged=Judgement(state=tool.state, reason=tool.reason, since=tool.since),
        services=tool.services,
        working=working,
        recorded=sequence,
        fence=fence,
        seen=sequence,
    )


def _observed(tool: ToolEntry | None, event: ToolObserved, sequence: int) -> ToolEntry | None:
    """Judged by an older record than is known, it is no judgement any more; the services are there all the same."""
    if tool is None or tool.gone or sequence <= tool.recorded:
        return tool
    seen = _with(tool, services=event.services, seen=sequence)
    if tool.tool is None or event.judged_by < tool.recorded:
        return seen
    since = tool.judged.since if event.state == tool.judged.state else event.observed_at
    judged = Judgement(state=event.state, reason=event.reason, since=since)
    return _with(seen, held=judged) if tool.working is not None else _with(seen, judged=judged)


def _with(entry: Entry, **changes: object) -> Entry:
    return entry.model_copy(update=changes)
