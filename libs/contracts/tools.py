"""The tool: what it is, what it can be told, and its state as of its last record."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal

from libs.contracts.envelope import Frozen, Message
from libs.contracts.names import OperationId, ToolId, ToolName
from libs.contracts.principals import Principal
from libs.contracts.releases import Release, Source
from libs.contracts.subjects import COMMAND, STATE


class ToolState(StrEnum):
    PENDING = "pending"
    BUILDING = "building"
    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    STOPPED = "stopped"
    FAILED = "failed"
    UNKNOWN = "unknown"


Desired = Literal["running", "stopped"]


class ServiceStatus(Frozen):
    """One container of a tool; `state` and `health` are the engine's own words, but `missing`: it should be there.

    A `job` ran once: it is well when it has exited with 0.
    """

    name: str
    state: Literal["created", "running", "restarting", "paused", "removing", "exited", "dead", "missing"]
    health: Literal["healthy", "unhealthy", "starting", "none"] = "none"
    exit_code: int | None = None
    job: bool = False


class Repairs(Frozen):
    """What was done to keep a tool running, unasked, since somebody last asked for something.

    `tries` are the starts in a row between which it did not stay up, `undone` those that undid what somebody had done
    by hand at the engine. `last` is when the last one ended, `problem` why it failed. `left`: no other one follows.
    """

    tries: int
    undone: int = 0
    last: datetime
    problem: str | None = None
    left: bool = False


class Tool(Frozen):
    """A tool whole. `port` is the port on the host that it keeps; `since` is when it came into `state`."""

    id: ToolId
    name: ToolName
    kind: Literal["container", "stack"]
    engine: str = "local"
    state: ToolState
    desired: Desired = "stopped"
    reason: str | None = None
    since: datetime
    source: Source
    release: Release
    port: int | None = None
    urls: tuple[str, ...] = ()
    services: tuple[ServiceStatus, ...] = ()
    installed_at: datetime
    repairs: Repairs | None = None


class Repair(Frozen):
    """A start that nobody asked for. It comes to nothing where the tool's last record is not `judged_by` any more.

    `tries` and `undone` are what the tool's `Repairs` come to with it.
    """

    judged_by: int
    tries: int
    undone: int = 0


class ToolCommand(Message):
    """One request to change a tool. `digest` is the request's: a key used twice for different ones is seen.

    `retry_of` is the operation that was given up and whose dead letter is tried once more with this one.
    """

    tool: ToolId
    tool_name: ToolName
    operation: OperationId
    requested_by: Principal
    digest: str
    retry_of: OperationId | None = None
    action: ClassVar[str]

    @property
    def overtakes(self) -> bool:
        """Whether it cancels what runs and what waits for this tool instead of waiting for it."""
        return getattr(self, "now", False)


class InstallTool(ToolCommand):
    """Make a tool from a Git repository: fetch, build and, if asked for, start it."""

    type = "machete.command.install-tool.v1"
    action = "install"
    subject_form = COMMAND["install"]
    source: Source
    start: bool = False


class BuildTool(ToolCommand):
    """Build the images of the tool's current release again; what runs goes on running."""

    type = "machete.command.build-tool.v1"
    action = "build"
    subject_form = COMMAND["build"]


class StartTool(ToolCommand):
    """Run the tool's current release and wait until it is ready; with `repair`, because it should run and does not."""

    type = "machete.command.start-tool.v1"
    action = "start"
    subject_form = COMMAND["start"]
    repair: Repair | None = None


class StopTool(ToolCommand):
    """Stop the tool; with `now`, what runs and waits for it is cancelled first."""

    type = "machete.command.stop-tool.v1"
    action = "stop"
    subject_form = COMMAND["stop"]
    now: bool = False


class RestartTool(ToolCommand):
    """Stop the tool and start it again."""

    type = "machete.command.restart-tool.v1"
    action = "restart"
    subject_form = COMMAND["restart"]


class UninstallTool(ToolCommand):
    """Remove the tool and all that is its own; its data only with `data`."""

    type = "machete.command.uninstall-tool.v1"
    action = "uninstall"
    subject_form = COMMAND["uninstall"]
    now: bool = False
    data: bool = False


COMMAND_TYPES: dict[str, type[ToolCommand]] = {
    kind.action: kind for kind in (InstallTool, BuildTool, StartTool, StopTool, RestartTool, UninstallTool)
}


class ToolRecorded(Message):
    """The tool as its last record left it (None: it is gone). `fence`, the sequence of
    the terminal event, orders these: a lower one is out of date.
    """

    type = "machete.state.tool-recorded.v1"
    subject_form = STATE
    tool: ToolId
    fence: int
    operation: OperationId
    state: Tool | None = None
