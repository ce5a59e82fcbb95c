"""What builds and tools print, in chunks of lines."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from libs.contracts.envelope import Frozen, Message, Undecodable
from libs.contracts.names import Token, ToolId
from libs.contracts.subjects import LOG

CHUNK_LINES = 512
CHUNK_BYTES = 64 * 1024
LINE_BYTES = 16 * 1024


class LogLine(Frozen):
    time: datetime
    text: str


class LogChunk(Message):
    """Lines of one source, an operation id or the name of a tool's service.

    `first` is the number of the first line in all that this source ever printed, from 0, so a reader knows
    exactly how many lines it missed. `mark` is the writer's own note of where it stood after these lines.
    """

    type = "machete.log.chunk.v1"
    subject_form = LOG
    tool: ToolId
    source: Token
    first: int
    lines: tuple[LogLine, ...]
    mark: str | None = None


@dataclass(frozen=True)
class PlainChunk:
    """A chunk for those who pass it on: each line as it stands on the wire, `{time, text}`."""

    tool: str
    source: str
    first: int
    lines: list[dict[str, str]]


def plain_chunk(raw: bytes, subject: str) -> PlainChunk:
    """What `decode` would give, in a sixth of the time. Raises `Undecodable` for what is no chunk of this subject."""
    try:
        envelope: dict[str, Any] = json.loads(raw)
        if envelope["specversion"] != "1.0" or envelope["type"] != LogChunk.type:
            raise Undecodable(f"{str(envelope['type'])[:100]!r} is no chunk of lines")
        said: dict[str, Any] = envelope["data"]
        chunk = PlainChunk(said["tool"], said["source"], said["first"], said["lines"])
        if LOG.build({"tool": chunk.tool, "source": chunk.source}) != subject:
            raise Undecodable(f"a chunk of {chunk.source} of {chunk.tool} came on {subject}")
        if not isinstance(said["first"], int) or not all(_is_line(line) for line in said["lines"]):
            raise Undecodable("not a chunk of lines: a line has a time and a text")
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        raise Undecodable(f"not a chunk of lines: {problem!r}") from None
    return chunk


def _is_line(line: dict[str, object]) -> bool:
    return type(line["text"]) is str and type(line["time"]) is str
