"""An operation as it is told: steps and lines come by two ways, and are put in the order in which they happened.

A line waits until it is known which step it belongs to, and a step's end for the lines before it; neither for longer
than `PATIENCE`. Nothing here waits or prints.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

PATIENCE = 1.0
REMEMBERED = 500

Steps = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Told:
    """`state` is a step's; None for a line of the log."""

    text: str
    state: Literal["running", "succeeded", "failed", "cancelled"] | None = None


@dataclass(frozen=True)
class _Line:
    text: str
    time: datetime
    heard: float


@dataclass(frozen=True)
class _Turn:
    """A step begins or ends."""

    told: Told
    time: datetime
    is_end: bool
    seen: float

    @property
    def place(self) -> tuple[datetime, bool]:
        return self.time, self.is_end


class Transcript:
    """`hear` may be called by another thread. `asked` and `now` are seconds of one clock, whichever."""

    def __init__(self) -> None:
        self._lines: deque[_Line] = deque()
        self._turns: list[_Turn] = []
        self._known: set[tuple[str, str, bool]] = set()
        self._told_lines: deque[str] = deque(maxlen=REMEMBERED)
        self._reason: _Line | None = None

    def hear(self, line: Mapping[str, Any], now: float) -> None:
        """A line of the log came."""
        self._lines.append(_Line(line["text"], datetime.fromisoformat(line["time"]), now))

    def tell(self, steps: Steps, asked: float, now: float) -> list[Told]:
        """What there is to show, given the steps that were there some time after `asked`."""
        self._note(steps, now)
        tried_again = self._reason is not None and _went_on(self._reason, steps)
        return list(self._merged([*self._held(tried_again), *self._ready(steps, asked, now)], now))

    def end(self, operation: Mapping[str, Any]) -> list[Told]:
        """All the rest. The sentence that says why it failed is left out: who shows the end says it."""
        why = (operation["error"] or {}).get("message")
        rest = [*self._held(True), *(self._lines.popleft() for _ in range(len(self._lines)))]
        self._note(operation["steps"], 0.0)
        return list(self._merged([line for line in rest if line.text != why], math.inf))

    def has_told(self, lines: Sequence[str]) -> bool:
        """Whether all of these were shown, as far as they are remembered."""
        return {line.strip() for line in lines} <= {"", *self._told_lines}

    def _note(self, steps: Steps, now: float) -> None:
        for step in steps:
            for moment, is_end in ((step["started_at"], False), (step["ended_at"], True)):
                key = (step["name"], step["started_at"], is_end)
                if moment and key not in self._known:
                    self._known.add(key)
                    state = step["state"] if is_end else "running"
                    told = Told(f"● {step['name']}: {state}", state)
                    self._turns.append(_Turn(told, datetime.fromisoformat(moment), is_end, now))
        self._turns.sort(key=lambda turn: turn.place)

    def _held(self, release: bool) -> Iterator[_Line]:
        """What seemed to be the last word, if it was not."""
        if release and self._reason is not None:
            yield self._reason
            self._reason = None

    def _ready(self, steps: Steps, asked: float, now: float) -> Iterator[_Line]:
        while self._lines:
            line = self._lines[0]
            if line.heard > asked or not (_belongs(line, steps) or now - line.heard > PATIENCE):
                return
            self._lines.popleft()
            if self._reason is None and _says_why(line, steps):
                self._reason = line
            else:
                yield line

    def _merged(self, lines: Iterable[_Line], now: float) -> Iterator[Told]:
        for line in lines:
            while self._turns and self._turns[0].place <= (line.time, False):
                yield self._turns.pop(0).told
            self._told_lines.append(line.text.strip())
            yield Told(line.text)
        while self._turns and self._is_due(self._turns[0], now):
            yield self._turns.pop(0).told

    def _is_due(self, turn: _Turn, now: float) -> bool:
        """An end is, once a later line came: they come in their order."""
        later = any(line.time >= turn.time for line in (self._reason, *self._lines) if line is not None)
        return not turn.is_end or later or now - turn.seen > PATIENCE


def _belongs(line: _Line, steps: Steps) -> bool:
    """Whether it was said during a step that is known, or before one: then no other step can come in between."""
    return any(line.time < _begun(step) or _during(line, step) for step in steps)


def _says_why(line: _Line, steps: Steps) -> bool:
    """Whether it may be why the operation fails: the first thing said after a step that did not succeed."""
    before = [step for step in steps if _begun(step) <= line.time]
    return bool(before) and before[-1]["state"] in ("failed", "cancelled") and not _during(line, before[-1])


def _went_on(line: _Line, steps: Steps) -> bool:
    """Whether it was not the last word: all that comes after that is to remove what there is."""
    return any(_begun(step) > line.time and step["name"] != "remove" for step in steps)


def _during(line: _Line, step: Mapping[str, Any]) -> bool:
    ended = step["ended_at"]
    return _begun(step) <= line.time and (not ended or line.time < datetime.fromisoformat(ended))


def _begun(step: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(step["started_at"])
