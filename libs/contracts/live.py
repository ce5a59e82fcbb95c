"""Frames of the live WebSocket.

Client → server, as query parameters of the upgrade: `topic` (again for each: `tools`, `operation:<id>`,
`logs:<tool name or id>`) and `cursor`. Server → client: one of the frames below. A cursor is opaque: hand
back the last one received and nothing is missed or repeated; what was discarded meanwhile is said in a gap.
"""

from typing import Any

from libs.contracts.envelope import Frozen


class EventFrame(Frozen):
    """`event` is the CloudEvent as it stands on the bus."""

    cursor: str
    event: dict[str, Any]


class LogLines(Frozen):
    """`first` is the number of the first line in all that the source ever printed."""

    tool: str
    source: str
    first: int
    lines: tuple[dict[str, Any], ...]


class LogFrame(Frozen):
    cursor: str
    log: LogLines


class Gap(Frozen):
    """`missed` counts lines where that is known; `stream` is `events` or `logs`."""

    stream: str
    reason: str
    source: str | None = None
    missed: int | None = None


class GapFrame(Frozen):
    cursor: str
    gap: Gap
