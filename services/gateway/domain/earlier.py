"""What earlier callers of MACHETE are shown, in the shapes that they know. Within these, fields are only ever added."""

from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from libs.contracts.envelope import Frozen
from libs.contracts.operations import OperationState
from libs.contracts.tools import Desired, ToolState
from libs.contracts.views import AcceptedOperation, OperationView, ToolDescription, ToolView

SUCCESSOR = {
    ("GET", "/api/tools"): "/api/v1/tools",
    ("POST", "/api/tools/install"): "/api/v1/tools",
    ("GET", "/api/tools/{id}"): "/api/v1/tools/{id}",
    ("PATCH", "/api/tools/{id}"): "/api/v1/tools/{id}",
    ("DELETE", "/api/tools/{id}"): "/api/v1/tools/{id}",
    ("POST", "/api/tools/{id}/build"): "/api/v1/tools/{id}/build",
    ("POST", "/api/tools/{id}/start"): "/api/v1/tools/{id}/start",
    ("POST", "/api/tools/{id}/stop"): "/api/v1/tools/{id}/stop",
    ("POST", "/api/tools/{id}/restart"): "/api/v1/tools/{id}/restart",
    ("GET", "/api/tools/{id}/status"): "/api/v1/tools/{id}",
    ("GET", "/api/tools/{id}/logs"): "/api/v1/tools/{id}/logs",
    ("GET", "/api/tools/{id}/health"): "/api/v1/tools/{id}",
    ("GET", "/api/diagnostics"): "/api/health",
}
"""What is to be used in place of each route. There a change takes a tool's name alone, and not its id."""

Part = Literal["nats", "engine", "database"]


class EarlierTool(Frozen):
    """`port` and `url` are where the tool answers; `updated_at` is since when it is in its `status`.

    `manifest` is the manifest as it was resolved, None before it was read.
    """

    id: str
    name: str
    git_url: str
    ref: str | None
    subdir: str | None
    commit: str | None
    version: str | None
    description: str | None
    category: str | None
    status: ToolState
    reason: str | None
    port: int | None
    url: str | None
    created_at: datetime
    updated_at: datetime
    manifest: dict[str, JsonValue] | None


class EarlierService(Frozen):
    """One container of a tool, in the engine's own words."""

    name: str
    state: str
    health: str
    exit_code: int | None


class EarlierStatus(Frozen):
    """`operation` is the id of the one that works on the tool now."""

    id: str
    name: str
    status: ToolState
    reason: str | None
    since: datetime
    desired: Desired
    url: str | None
    operation: str | None
    services: tuple[EarlierService, ...]


class EarlierLogs(Frozen):
    """`logs` are the last lines that the tool printed, the oldest first."""

    id: str
    name: str
    logs: tuple[str, ...]


class EarlierHealth(Frozen):
    """`healthy`: it runs, and all its services are well."""

    id: str
    name: str
    healthy: bool
    status: ToolState
    reason: str | None
    services: tuple[EarlierService, ...]


class EarlierAccepted(Frozen):
    """The body of a 202. `id` and `name` are the tool's, `status` is the operation's; `message` is for people."""

    id: str
    name: str
    status: OperationState
    message: str
    operation: OperationView
    position: int
    waiting_for: tuple[str, ...]


class PartHealth(Frozen):
    healthy: bool
    detail: str


class ToolCounts(Frozen):
    total: int
    by_status: dict[ToolState, int]


class Diagnostics(Frozen):
    """`versions` of MACHETE, of its NATS server and of the engine (None: not known); `tools` None: not known."""

    status: Literal["ok", "degraded"]
    versions: dict[str, str | None]
    checks: dict[Part, PartHealth]
    tools: ToolCounts | None
    checked_at: datetime


def earlier_tool(found: ToolDescription) -> EarlierTool:
    tool = found.tool
    return EarlierTool(
        id=tool.id,
        name=tool.name,
        git_url=tool.source.git_url,
        ref=tool.source.ref,
        subdir=tool.source.subdir,
        commit=tool.release.commit if tool.release is not None else None,
        version=tool.release.version if tool.release is not None else None,
        description=tool.description,
        category=found.category,
        status=tool.state,
        reason=tool.reason,
        port=found.port,
        url=next(iter(tool.urls), None),
        created_at=found.created_at,
        updated_at=tool.since,
        manifest=found.manifest,
    )


def earlier_status(tool: ToolView) -> EarlierStatus:
    return EarlierStatus(
        id=tool.id,
        name=tool.name,
        status=tool.state,
        reason=tool.reason,
        since=tool.since,
        desired=tool.desired,
        url=next(iter(tool.urls), None),
        operation=tool.operation,
        services=_services(tool),
    )


def earlier_health(tool: ToolView) -> EarlierHealth:
    return EarlierHealth(
        id=tool.id,
        name=tool.name,
        healthy=tool.state is ToolState.RUNNING,
        status=tool.state,
        reason=tool.reason,
        services=_services(tool),
    )


def _services(tool: ToolView) -> tuple[EarlierService, ...]:
    return tuple(
        EarlierService(name=each.name, state=each.state, health=each.health, exit_code=each.exit_code)
        for each in tool.services
    )


def earlier_accepted(accepted: AcceptedOperation) -> EarlierAccepted:
    operation = accepted.operation
    own = operation.links["self"].partition("?")[0]
    return EarlierAccepted(
        id=operation.tool,
        name=operation.tool_name,
        status=operation.state,
        message=f"The {operation.kind} of {operation.tool_name} is {operation.state}; {own} shows how it goes.",
        operation=operation,
        position=accepted.position,
        waiting_for=accepted.waiting_for,
    )


def counted(states: list[ToolState]) -> ToolCounts:
    """Every state is named, also where no tool is in it."""
    return ToolCounts(total=len(states), by_status={state: states.count(state) for state in ToolState})
