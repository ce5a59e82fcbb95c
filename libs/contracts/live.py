"""Frames of the live WebSocket.

Client → server, as query parameters of the upgrade: `topic` (again for each), `cursor`, `pace` and `heartbeat`.

| topic | what is told |
|---|---|
| `tools` | every event |
| `tool:<name or id>` | every event of one tool |
| `operation:<id>` | one operation from its beginning: events, and what it prints |
| `logs:<tool name or id>` | what a tool's services print from now on |
| `states` | all tools as they are now, and then each that changes, as it is by then |
| `state:<tool name or id>` | the same of one tool |

Server → client: one of the frames below. A cursor is opaque: hand back the last one received with the same topics, to
any replica, and nothing is missed or repeated; what was discarded meanwhile is said in a gap. `pace` is the least time,
in milliseconds, between two times that something is sent; what happens in between comes together: events as one
`events` frame, of states the last. States come no faster than every 100 ms in any case. `heartbeat` asks for a frame
after so many seconds of silence.
"""

from datetime import datetime
from typing import Any

from libs.contracts.envelope import Frozen
from libs.contracts.views import ToolView


class EventFrame(Frozen):
    """`event` is the CloudEvent as it stands on the bus."""

    cursor: str
    event: dict[str, Any]


class EventsFrame(Frozen):
    """What happened since the last frame, in order: to who asked for a `pace`."""

    cursor: str
    events: tuple[dict[str, Any], ...]


class LogLines(Frozen):
    """`first` is the number of the first line in all that the source ever printed."""

    tool: str
    source: str
    first: int
    lines: tuple[dict[str, Any], ...]


class LogFrame(Frozen):
    cursor: str
    log: LogLines


class States(Frozen):
    """Tools as they are now; `gone` are the ids of those that are no more.

    `whole`: forget what was known before; what comes is all there is. `more`: this goes on in the next frame, and
    only with the last one is it complete.
    """

    whole: bool
    more: bool
    tools: tuple[ToolView, ...]
    gone: tuple[str, ...]


class StatesFrame(Frozen):
    cursor: str
    states: States


class Gap(Frozen):
    """`missed` counts lines where that is known; `stream` is `events` or `logs`."""

    stream: str
    reason: str
    source: str | None = None
    missed: int | None = None


class GapFrame(Frozen):
    cursor: str
    gap: Gap


class HeartbeatFrame(Frozen):
    """Nothing was to be said for as long as the client had asked for; `time` is the server's."""

    cursor: str
    heartbeat: datetime
