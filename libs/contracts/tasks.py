"""Work that one service asks of another inside an operation, and its answer.

A task carries the operation's fence: whoever works on it drops it when the record has moved on.
The answer goes to the operation's step subject, so the owner finds it there after a crash too.
"""

from datetime import datetime
from typing import ClassVar, Literal

from libs.contracts.envelope import Message
from libs.contracts.names import OperationId, ToolId
from libs.contracts.operations import StepName
from libs.contracts.problems import Problem
from libs.contracts.subjects import STEP, TASK
from libs.contracts.tools import Tool


class Task(Message):
    """`deadline` is the operation's. A `relentless` task runs although the operation is cancelled."""

    what: ClassVar[str]
    step: ClassVar[StepName]
    relentless: ClassVar[bool] = False
    operation: OperationId
    tool: ToolId
    fence: int
    deadline: datetime


class ToolTask(Task):
    """`subject_tool` is the tool as the operation's owner sees it."""

    subject_tool: Tool


class BuildRelease(ToolTask):
    """Build the images of `subject_tool.release` and make its network and storage ready."""

    type = "machete.task.build-release.v1"
    what = "orchestrator.build"
    step = "build"
    subject_form = TASK["orchestrator.build"]


class StartRelease(ToolTask):
    """Start what was built and wait until it is ready."""

    type = "machete.task.start-release.v1"
    what = "orchestrator.start"
    step = "start"
    subject_form = TASK["orchestrator.start"]


class DiscardTool(Task):
    """Remove all that this tool left on the engine and in its folder: its install did not come to an end."""

    type = "machete.task.discard-tool.v1"
    what = "orchestrator.discard"
    step = "remove"
    relentless = True
    subject_form = TASK["orchestrator.discard"]


class TaskEnded(Message):
    """The answer to a task. `state` is the tool as the task left it, None where it removed it or could not tell."""

    type = "machete.operation.task-ended.v1"
    subject_form = STEP
    operation: OperationId
    tool: ToolId
    fence: int
    what: str
    outcome: Literal["succeeded", "failed", "cancelled"]
    state: Tool | None = None
    error: Problem | None = None
    ended_at: datetime
