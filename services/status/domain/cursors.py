"""Where a live connection has come to, as the word that its client hands back."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Annotated, Protocol

from pydantic import Field, TypeAdapter

from libs.contracts.live import Gap
from libs.contracts.names import is_operation_id
from services.status.domain.pages import BadCursor, pack, unpack

# A cursor travels in the request line of an upgrade, of which servers take 8 KiB.
LONGEST = 6_000
MOST_SOURCES = 32

_NO_CURSOR = "this is no live cursor; leave it out to begin with what happens now"
_Count = Annotated[int, Field(ge=0, strict=True)]
_Last = _Count | None
_PACKED = TypeAdapter(tuple[str, _Last, _Last, dict[str, _Count], _Last])
_BEFORE_STATES = TypeAdapter(tuple[str, _Count, _Count, dict[str, _Count]])


class Numbered(Protocol):
    """Lines of one source, of which `first` is the number of the first one."""

    @property
    def tool(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def first(self) -> int: ...

    @property
    def lines(self) -> Sized: ...


@dataclass(frozen=True)
class Place:
    """The last sequences sent, and for each followed source (`<operation>`, `<tool>.<service>`) its next line's number.

    None where nothing of that stream is followed. `states` is the event up to which tools were shown, None before
    all of them were. Sequences mean something in their own epoch only: streams that were made anew count from the
    start again.
    """

    epoch: str
    events: int | None
    lines: int | None
    next_line: dict[str, int] = field(default_factory=dict[str, int])
    states: int | None = None

    def cursor(self) -> str:
        """The same for all who stand in the same place, so that what they are sent can be the same too."""
        if not self.next_line:
            return _without_lines(self.epoch, self.events, self.lines, self.states)
        return pack([self.epoch, self.events, self.lines, self.next_line, self.states])

    def after_event(self, sequence: int) -> Place:
        return replace(self, events=sequence)

    def after_lines(self, sequence: int, chunk: Numbered) -> Place:
        """Of too many sources, the tools' are forgotten first: what an operation prints is counted from its start."""
        numbers = {key: number for key, number in self.next_line.items() if key != _key(chunk)}
        numbers[_key(chunk)] = chunk.first + len(chunk.lines)
        if len(numbers) > MOST_SOURCES:
            del numbers[next((key for key in numbers if "." in key), next(iter(numbers)))]
        return replace(self, lines=sequence, next_line=numbers)

    def before(self, chunk: Numbered, *, from_the_start: bool, unreadable: bool = False) -> Gap | None:
        """What is missing between the lines sent last and these; nothing can be said of a source not met before.

        A number that goes back is a source that was forgotten whole and began again.
        """
        expected = self.next_line.get(_key(chunk), 0 if from_the_start else chunk.first)
        missed = chunk.first - expected
        if missed <= 0:
            return None
        return Gap(
            stream="logs", reason=f"these lines {missing_because(unreadable)}", source=chunk.source, missed=missed
        )


def missing_because(unreadable: bool) -> str:
    """Why lines are missing; `unreadable`: something that cannot be read stood in their place.

    That may not be all that is missing there. Nobody knows which of the ways to be lost was theirs.
    """
    lost = "came faster than they could be kept, or are no longer kept"
    return f"cannot be read, {lost}" if unreadable else lost


@lru_cache(1024)
def _without_lines(epoch: str, events: int | None, lines: int | None, states: int | None) -> str:
    numbers: dict[str, int] = {}
    return pack([epoch, events, lines, numbers, states])


def _key(chunk: Numbered) -> str:
    return chunk.source if is_operation_id(chunk.source) else f"{chunk.tool}.{chunk.source}"


def parse_cursor(cursor: str) -> Place:
    """Raises `BadCursor`."""
    try:
        if len(cursor) <= LONGEST:
            try:
                return Place(*_PACKED.validate_python(unpack(cursor)))
            except ValueError:
                return Place(*_BEFORE_STATES.validate_python(unpack(cursor)))
    except ValueError as problem:
        raise BadCursor(_NO_CURSOR) from problem
    raise BadCursor(_NO_CURSOR)
