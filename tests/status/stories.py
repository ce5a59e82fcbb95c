"""What happens to tools, as events: short to write, complete on the bus."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from libs.contracts.engines import EngineConnected, EngineLost, ToolObserved
from libs.contracts.manifest import ResolvedManifest
from libs.contracts.names import derived_word, tool_id
from libs.contracts.operations import (
    CancelRequested,
    Kind,
    OperationAccepted,
    OperationCancelled,
    OperationFailed,
    OperationStarted,
    OperationSucceeded,
    StepEnded,
    StepName,
    StepStarted,
)
from libs.contracts.principals import Principal
from libs.contracts.problems import Problem
from libs.contracts.releases import Release, Source, release_id
from libs.contracts.tools import ServiceStatus, Tool, ToolState

ADMIN = Principal(kind="user", name="admin", role="admin")
SOURCE = Source(git_url="https://git.example.org/tools/sample.git")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
Effect = Literal["changed", "removed", "none"]


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def operation_id(word: str) -> str:
    return f"op-{derived_word(26, word)}"


def tool_named(name: str, word: str = "") -> str:
    return tool_id(name, operation_id(name + word))


def tool(name: str = "sample", state: ToolState = ToolState.RUNNING, *, since: float = 0, word: str = "") -> Tool:
    manifest = ResolvedManifest(name=name, version="1.0.0", manifest_file="machete.yml")
    commit = "0123456789abcdef0123456789abcdef01234567"
    release = Release(
        id=release_id(commit, None, manifest), commit=commit, version="1.0.0", bundle="none", manifest=manifest
    )
    return Tool(
        id=tool_named(name, word),
        name=name,
        kind="container",
        state=state,
        desired="running" if state is ToolState.RUNNING else "stopped",
        since=at(since),
        source=SOURCE,
        release=release,
        installed_at=at(0),
        services=(service(),) if state is ToolState.RUNNING else (service("exited"),),
    )


def service(state: Literal["running", "exited"] = "running") -> ServiceStatus:
    return ServiceStatus(name="main", state=state)


class Operation:
    """The events of one operation on one tool."""

    def __init__(self, kind: Kind = "install", name: str = "sample", *, word: str = "", number: int = 0) -> None:
        self.kind: Kind = kind
        self.name = name
        self.tool = tool_named(name, word)
        self.id = operation_id(f"{name}{word}" if kind == "install" and not number else f"{kind}{name}{word}{number}")

    def accepted(self, seconds: float = 0) -> OperationAccepted:
        return OperationAccepted(
            operation=self.id,
            tool=self.tool,
            kind=self.kind,
            tool_name=self.name,
            requested_by=ADMIN,
            digest="sha256:0",
            created_at=at(seconds),
            source=SOURCE if self.kind == "install" else None,
        )

    def started(self, attempt: int = 1, seconds: float = 0) -> OperationStarted:
        return OperationStarted(
            operation=self.id,
            tool=self.tool,
            worker="test/1",
            attempt=attempt,
            started_at=at(seconds),
            deadline=at(seconds + 600),
        )

    def cancel(self) -> CancelRequested:
        return CancelRequested(operation=self.id, tool=self.tool, requested_by=ADMIN)

    def begins(self, step: StepName, fence: int, seconds: float = 0) -> StepStarted:
        return StepStarted(operation=self.id, tool=self.tool, fence=fence, step=step, started_at=at(seconds))

    def ends(self, step: StepName, fence: int, seconds: float = 0) -> StepEnded:
        return StepEnded(
            operation=self.id, tool=self.tool, fence=fence, step=step, state="succeeded", ended_at=at(seconds)
        )

    def succeeded(self, fence: int, state: Tool | None, seconds: float = 0) -> OperationSucceeded:
        effect: Effect = "changed" if state else "removed"
        return OperationSucceeded(
            operation=self.id, tool=self.tool, fence=fence, effect=effect, state=state, ended_at=at(seconds)
        )

    def failed(
        self, fence: int, effect: Effect = "none", state: Tool | None = None, seconds: float = 0
    ) -> OperationFailed:
        error = Problem(code="broken", message="It broke.")
        return OperationFailed(
            operation=self.id,
            tool=self.tool,
            fence=fence,
            effect=effect,
            state=state,
            ended_at=at(seconds),
            error=error,
        )

    def cancelled(self, fence: int, effect: Effect = "none", state: Tool | None = None) -> OperationCancelled:
        error = Problem(code="cancelled", message="Cancelled.")
        return OperationCancelled(
            operation=self.id, tool=self.tool, fence=fence, effect=effect, state=state, ended_at=at(0), error=error
        )


def observed(
    name: str = "sample",
    state: ToolState = ToolState.FAILED,
    *,
    judged_by: int = 10_000_000,
    seconds: float = 100,
    reason: str | None = "main was killed",
    word: str = "",
) -> ToolObserved:
    return ToolObserved(
        tool=tool_named(name, word),
        state=state,
        reason=reason,
        services=(service("running" if state is ToolState.RUNNING else "exited"),),
        action="die",
        judged_by=judged_by,
        observed_at=at(seconds),
    )


def lost(seconds: float = 200) -> EngineLost:
    return EngineLost(engine="local", reason="connection refused", observed_at=at(seconds))


def connected(seconds: float = 300) -> EngineConnected:
    return EngineConnected(engine="local", version="26.1.5", observed_at=at(seconds))
