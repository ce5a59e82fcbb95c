"""What people and programs are shown of tools and operations; the shapes of the HTTP API and of query answers."""

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from libs.contracts.envelope import Frozen
from libs.contracts.operations import Kind, OperationState, StepName
from libs.contracts.problems import Problem
from libs.contracts.releases import Source
from libs.contracts.tools import Desired, ServiceStatus, Tool, ToolState


class ReleaseView(Frozen):
    id: str
    commit: str
    version: str


class ToolView(Frozen):
    """`operation` is the id of the one that works on the tool now; `description` the manifest's.

    What only the manifest or the build can tell (`kind`, `release`, …) is None until the first install has got there.
    """

    id: str
    name: str
    kind: Literal["container", "stack"] | None
    engine: str
    state: ToolState
    reason: str | None
    since: datetime
    desired: Desired
    release: ReleaseView | None
    urls: tuple[str, ...]
    services: tuple[ServiceStatus, ...]
    source: Source
    description: str | None
    operation: str | None
    installed_at: datetime | None
    links: dict[str, str]


class StepView(Frozen):
    name: StepName
    state: Literal["running", "succeeded", "failed", "cancelled"]
    started_at: datetime
    ended_at: datetime | None


class OperationView(Frozen):
    """`tool` is the tool's id. `requested_by` is `user:admin`, `agent:…`, `service:…`.

    `retry_of` is the operation that was given up and is tried once more with this one.
    """

    id: str
    kind: Kind
    tool: str
    tool_name: str
    state: OperationState
    error: Problem | None
    steps: tuple[StepView, ...]
    requested_by: str
    cancel_requested: bool = False
    created_at: datetime
    ended_at: datetime | None
    retry_of: str | None = None
    links: dict[str, str]


class ToolDescription(Frozen):
    """A tool with what its manifest says. `port` is the one on the host that it keeps.

    `manifest` is None until it was read; what stands in it under the name of a secret is masked.
    """

    tool: ToolView
    category: str | None
    port: int | None
    created_at: datetime
    manifest: dict[str, JsonValue] | None


class Descriptions(Frozen):
    """`next` is the cursor of what follows, None at the end."""

    tools: tuple[ToolDescription, ...]
    next: str | None = None


class PrintedLine(Frozen):
    """A line that a tool's service printed."""

    time: datetime
    service: str
    text: str


class LastLines(Frozen):
    """The last lines that a tool printed, the oldest first."""

    id: str
    name: str
    lines: tuple[PrintedLine, ...]


class Page(Frozen):
    """`next` is the cursor of the following page, None on the last."""

    tools: tuple[ToolView, ...] = ()
    operations: tuple[OperationView, ...] = ()
    next: str | None = None


class RebuildView(Frozen):
    """How far the making anew of the status tables has come. Until it has succeeded, the old ones are shown.

    It reads the events up to `up_to`, of which `position` are behind it; the oldest `forgotten` are not kept any more.
    `differed` rows were missing or wrong in the old tables, and `dropped` rows are gone with them: of operations, for
    instance, whose beginning is not kept any more. `reason` says why it failed, or what it waits for.
    """

    id: str
    state: Literal["running", "succeeded", "failed"]
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
    links: dict[str, str]


class AcceptedOperation(Frozen):
    """The body of a 202. A query that brings `position` is answered from a projection that has seen it.

    `waiting_for` names the operations of the same tool that come first.
    """

    operation: OperationView
    position: int
    waiting_for: tuple[str, ...] = Field(())


def rebuild_links(rebuild: str) -> dict[str, str]:
    return {"self": f"/api/v1/rebuilds/{rebuild}"}


def operation_links(operation: str, tool_name: str) -> dict[str, str]:
    own = f"/api/v1/operations/{operation}"
    return {
        "self": own,
        "log": f"{own}/log",
        "cancel": f"{own}/cancel",
        "live": f"/api/v1/live?topic=operation:{operation}",
        "tool": f"/api/v1/tools/{tool_name}",
    }


def tool_links(name: str) -> dict[str, str]:
    own = f"/api/v1/tools/{name}"
    return {
        "self": own,
        "logs": f"{own}/logs",
        "build": f"{own}/build",
        "start": f"{own}/start",
        "stop": f"{own}/stop",
        "restart": f"{own}/restart",
    }


def tool_view(tool: Tool, operation: str | None = None) -> ToolView:
    """A recorded tool as it is shown."""
    release = tool.release
    return ToolView(
        **{
            field: getattr(tool, field)
            for field in ("id", "name", "kind", "engine", "state", "reason", "since", "desired", "urls", "services")
        },
        source=tool.source,
        installed_at=tool.installed_at,
        release=ReleaseView(id=release.id, commit=release.commit, version=release.version),
        description=release.manifest.description,
        operation=operation,
        links=tool_links(tool.name),
    )
