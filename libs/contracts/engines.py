"""What an engine was seen to do, behind MACHETE's back or not."""

from datetime import datetime

from libs.contracts.envelope import Message
from libs.contracts.names import Token, ToolId
from libs.contracts.subjects import ENGINE, TOOL_ENGINE
from libs.contracts.tools import ServiceStatus, ToolState


class ToolObserved(Message):
    """All services of a tool as the engine shows them right after `action` happened to `container`.

    The whole picture, not the change: a lost or late one is mended by the next. Replicas that see the
    same thing publish the same message id (container, action, time).

    `state` was judged by what the tool should do as of the record at `judged_by` (the sequence of its end):
    where a later record is known, only `services` are news, and a newer judgement follows.

    `by_hand` are the ids of containers that somebody stopped or removed at the engine, as far as that still holds.
    """

    type = "machete.engine.tool-observed.v1"
    subject_form = TOOL_ENGINE
    tool: ToolId
    state: ToolState
    reason: str | None = None
    services: tuple[ServiceStatus, ...] = ()
    container: str | None = None
    action: str
    judged_by: int = 0
    by_hand: tuple[str, ...] = ()
    observed_at: datetime


class EngineConnected(Message):
    """The engine answers (again); what it runs follows as one `ToolObserved` a tool."""

    type = "machete.engine.connected.v1"
    subject_form = ENGINE
    engine: Token
    version: str
    observed_at: datetime


class EngineLost(Message):
    """The engine does not answer: the state of its tools is unknown, which is not stopped."""

    type = "machete.engine.lost.v1"
    subject_form = ENGINE
    engine: Token
    reason: str
    observed_at: datetime
