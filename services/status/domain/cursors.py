"""Where a live connection has come to, as the word that its client hands back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from pydantic import Field, TypeAdapter

from libs.contracts.live import Gap
from libs.contracts.logs import LogChunk
from services.status.domain.pages import BadCursor, pack, unpack

LONGEST = 16_384
MOST_SOURCES = 200

_NO_CURSOR = "this is no live cursor; leave it out to begin with what happens now"
_Count = Annotated[int, Field(ge=0, strict=True)]
_PACKED = TypeAdapter(tuple[str, _Count, _Count, dict[str, _Count]])


@dataclass(frozen=True)
class Place:
    """The last sequences sent, and for each followed source (`<tool>.<source>`) the number its next line has.

    Sequences mean something in their own epoch only: streams that were made anew count from the start again.
    """

    epoch: str
    events: int
    lines: int
    next_line: dict[str, int] = field(default_factory=dict[str, int])

    def cursor(self) -> str:
        return pack([self.epoch, self.events, self.lines, self.next_line])

    def after_event(self, sequence: int) -> Place:
        return replace(self, events=sequence)

    def after_lines(self, sequence: int, chunk: LogChunk) -> Place:
        key = f"{chunk.tool}.{chunk.source}"
        kept = {other: number for other, number in self.next_line.items() if other != key}
        kept[key] = chunk.first + len(chunk.lines)
        return replace(self, lines=sequence, next_line=dict(list(kept.items())[-MOST_SOURCES:]))

    def before(self, chunk: LogChunk, *, from_the_start: bool) -> Gap | None:
        """What was lost between the lines sent last and these; nothing can be said of a source not met before.

        A number that goes back is a source that was forgotten whole and began again.
        """
        expected = self.next_line.get(f"{chunk.tool}.{chunk.source}", 0 if from_the_start else chunk.first)
        missed = chunk.first - expected
        if missed <= 0:
            return None
        return Gap(stream="logs", reason="these lines are no longer kept", source=chunk.source, missed=missed)


def parse_cursor(cursor: str) -> Place:
    """Raises `BadCursor`."""
    try:
        if len(cursor) <= LONGEST:
            return Place(*_PACKED.validate_python(unpack(cursor)))
    except ValueError as problem:
        raise BadCursor(_NO_CURSOR) from problem
    raise BadCursor(_NO_CURSOR)
