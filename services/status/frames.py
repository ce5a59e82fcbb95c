"""What is sent, as text: put together once for all who are sent the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from libs.contracts.envelope import Undecodable
from libs.contracts.live import Gap, GapFrame, HeartbeatFrame
from libs.contracts.operations import OperationEnded
from libs.contracts.subjects import RECORD, BadSubject
from libs.runtime import metrics
from libs.runtime.bus.stored import Kept
from libs.runtime.logging import get_logger
from services.status.history import chunk_of

log = get_logger(__name__)

_EVENTS, _LINES, _GAPS, _STATES = (metrics.live_frames.labels(kind) for kind in ("event", "log", "gap", "states"))
_MISSED = metrics.log_lines_missed.labels("live")
# Characters: what many are sent at once.
REMEMBERED = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Printed:
    """Lines of one source: as they stand in a frame (`text`), and their numbers.

    Not each by itself, which would take many times that.
    """

    tool: str
    source: str
    lines: range
    text: str

    @property
    def first(self) -> int:
        return self.lines.start


class Entry:
    """A message of a stream, with what was found out about it once; `keys` say whom it concerns."""

    def __init__(self, kept: Kept, keys: tuple[str, ...] = ()) -> None:
        self.kept = kept
        self.keys = keys
        self.sequence = kept.sequence
        self.size = len(kept.data)

    @cached_property
    def event(self) -> str | None:
        """As it stands on the bus, byte for byte; None for what is no JSON."""
        try:
            json.loads(self.kept.data)
            return self.kept.data.decode()
        except ValueError as problem:
            log.error("an event cannot be read and is passed over", sequence=self.sequence, problem=str(problem))
            return None

    @cached_property
    def ends(self) -> str | None:
        """The operation that ends with this event."""
        try:
            operation = RECORD.parse(self.kept.subject)["operation"]
            return operation if isinstance(self.kept.open().data, OperationEnded) else None
        except (BadSubject, Undecodable):
            return None

    @cached_property
    def printed(self) -> Printed | None:
        """The fields of `LogLines`, written without a model for each line; None for what is no chunk of lines."""
        chunk = chunk_of(self.kept)
        if chunk is None:
            return None
        said = {"tool": chunk.tool, "source": chunk.source, "first": chunk.first, "lines": chunk.lines}
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
        return Printed(chunk.tool, chunk.source, range(chunk.first, chunk.first + len(chunk.lines)), text)


class Encoder:
    """Frames of events and of states. Those made last are remembered: many connections ask for the same ones."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, Hashable], str] = {}
        self._size = 0

    def event(self, cursor: str, entry: Entry) -> str | None:
        """None where there is nothing that can be read."""
        if entry.event is None:
            return None
        _EVENTS.inc()
        return self._once(cursor, entry.sequence, lambda: f'{{"cursor":"{cursor}","event":{entry.event}}}')

    def events(self, cursor: str, entries: Sequence[Entry]) -> str | None:
        """Of several together."""
        readable = [(entry.sequence, entry.event) for entry in entries if entry.event is not None]
        if not readable:
            return None
        _EVENTS.inc()
        sequences, events = zip(*readable, strict=True)
        return self._once(cursor, sequences, lambda: f'{{"cursor":"{cursor}","events":[{",".join(events)}]}}')

    def states(self, cursor: str, body: str) -> str:
        _STATES.inc()
        return self._once(cursor, body, lambda: f'{{"cursor":"{cursor}","states":{body}}}')

    def _once(self, cursor: str, what: Hashable, make: Callable[[], str]) -> str:
        frame = self._made.get((cursor, what))
        if frame is None:
            frame = self._made[cursor, what] = make()
            self._size += len(frame)
            while self._size > REMEMBERED and len(self._made) > 1:
                self._size -= len(self._made.pop(next(iter(self._made))))
        return frame


def lines(cursor: str, printed: Printed) -> str:
    _LINES.inc()
    return f'{{"cursor":"{cursor}","log":{printed.text}}}'


def gap(cursor: str, what: Gap) -> str:
    _GAPS.inc()
    _MISSED.inc(what.missed or 0)
    return GapFrame(cursor=cursor, gap=what).model_dump_json(exclude_none=True)


def heartbeat(cursor: str) -> str:
    return HeartbeatFrame(cursor=cursor, heartbeat=datetime.now(UTC)).model_dump_json()
