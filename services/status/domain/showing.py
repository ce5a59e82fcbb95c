"""Tools and operations as people and programs see them: what is known, and what is happening over it."""

from __future__ import annotations

from collections.abc import Sequence

from libs.contracts.operations import OperationState
from libs.contracts.tools import ToolState
from libs.contracts.views import (
    OperationView,
    RebuildView,
    ToolView,
    operation_links,
    rebuild_links,
    tool_links,
    tool_view,
)
from services.status.domain.entries import EngineEntry, Judgement, OperationEntry, RebuildEntry, ToolEntry


def operation_shown(entry: OperationEntry) -> OperationView:
    return OperationView(
        id=entry.id,
        kind=entry.kind,
        tool=entry.tool,
        tool_name=entry.tool_name,
        state=entry.state,
        error=entry.error,
        steps=entry.steps,
        requested_by=entry.requested_by,
        cancel_requested=entry.cancel_requested,
        created_at=entry.created_at,
        ended_at=entry.ended_at,
        retry_of=entry.retry_of,
        links=operation_links(entry.id, entry.tool_name),
    )


def rebuild_shown(entry: RebuildEntry) -> RebuildView:
    return RebuildView(**entry.model_dump(), links=rebuild_links(entry.id))


def tool_shown(entry: ToolEntry, engine: EngineEntry | None, under_way: Sequence[OperationEntry]) -> ToolView:
    """`under_way` are the tool's operations that have not ended, oldest first."""
    current = at_work(under_way)
    judged = judgement(entry, engine, under_way)
    operation = current.id if current else None
    if entry.tool is None:
        return _coming(entry, judged, operation)
    state = {"state": judged.state, "reason": judged.reason, "since": judged.since, "services": entry.services}
    return tool_view(entry.tool.model_copy(update=state), operation)


def _coming(entry: ToolEntry, judged: Judgement, operation: str | None) -> ToolView:
    """A tool whose first install has not ended."""
    return ToolView(
        id=entry.id,
        name=entry.name,
        kind=None,
        engine=entry.engine,
        state=judged.state,
        reason=judged.reason,
        since=judged.since,
        desired="stopped",
        release=None,
        urls=(),
        services=entry.services,
        source=entry.source,
        description=None,
        operation=operation,
        installed_at=None,
        links=tool_links(entry.name),
    )


def at_work(under_way: Sequence[OperationEntry]) -> OperationEntry | None:
    """The newest that runs; else the one whose turn it is next."""
    running = [operation for operation in under_way if operation.state is OperationState.RUNNING]
    return running[-1] if running else next(iter(under_way), None)


def judgement(entry: ToolEntry, engine: EngineEntry | None, under_way: Sequence[OperationEntry]) -> Judgement:
    """What is happening to the tool goes before what it is; not knowing goes before both, once there is a tool."""
    if entry.tool is not None and engine is not None and engine.lost > entry.seen and engine.lost_at is not None:
        reason = f"the engine {engine.name} does not answer: {engine.reason} Once it does, all goes on by itself."
        return Judgement(state=ToolState.UNKNOWN, reason=reason, since=engine.lost_at)
    current = at_work(under_way)
    step = current.step if current else None
    if step is not None and step.name == "start":
        return Judgement(state=ToolState.STARTING, since=step.started_at)
    if step is not None and step.name == "build" and entry.tool is None:
        return Judgement(state=ToolState.BUILDING, since=step.started_at)
    return entry.judged
