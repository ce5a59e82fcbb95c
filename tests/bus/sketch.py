"""Messages to test with: small, complete, and each with names of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from libs.contracts.manifest import ResolvedManifest
from libs.contracts.names import new_operation_id, tool_id
from libs.contracts.principals import Principal
from libs.contracts.releases import Release, Source, release_id
from libs.contracts.tools import COMMAND_TYPES, InstallTool, Tool, ToolCommand, ToolState

ADMIN = Principal(kind="user", name="admin", role="admin")
SOURCE = Source(git_url="https://git.example.org/tools/example.git")


def command(action: str, tool: str, name: str, **more: Any) -> ToolCommand:
    """A command under an operation of its own."""
    if action == "install":
        more.setdefault("source", SOURCE)
    return COMMAND_TYPES[action](
        tool=tool,
        tool_name=name,
        operation=more.pop("operation", new_operation_id(ADMIN.label, None)),
        requested_by=ADMIN,
        digest="sha256:0",
        **more,
    )


def install(name: str, **more: Any) -> InstallTool:
    operation = new_operation_id(ADMIN.label, None)
    made = command("install", tool_id(name, operation), name, operation=operation, **more)
    assert isinstance(made, InstallTool)
    return made


def tool(id: str, name: str, state: ToolState = ToolState.STOPPED, reason: str | None = None) -> Tool:
    manifest = ResolvedManifest(name=name, version="1.0.0", manifest_file="machete.yml")
    commit = "0123456789abcdef0123456789abcdef01234567"
    now = datetime.now(UTC)
    desired: Literal["running", "stopped"] = "running" if state is ToolState.RUNNING else "stopped"
    return Tool(
        id=id,
        name=name,
        kind="container",
        state=state,
        desired=desired,
        reason=reason,
        since=now,
        source=SOURCE,
        release=Release(
            id=release_id(commit, None, manifest), commit=commit, version="1.0.0", bundle="none", manifest=manifest
        ),
        installed_at=now,
    )
