"""How many commands wait, of whom and for what; when one more is too many; and when there will be room again.

What is counted is what was accepted and has not ended: what is worked on counts too. Times are seconds on a clock
that never goes back, which the caller reads.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

SOONEST, LATEST = 1, 300
# So many of the last ends tell how fast a queue moves; so many of the last turned away are told the same time again.
ENDS_KEPT, TOLD_KEPT = 20, 1000

Scope = Literal["platform", "principal", "tool"]
Place = tuple[Scope, str]


@dataclass(frozen=True)
class Limits:
    """The most commands that may wait for one tool, of one principal, and in all."""

    tool: int
    principal: int
    platform: int

    def of(self, scope: Scope) -> int:
        return {"tool": self.tool, "principal": self.principal, "platform": self.platform}[scope]


@dataclass(frozen=True)
class Crowded:
    """One more is too many: `waiting` wait at this place. Come again in `seconds`."""

    place: Place
    waiting: int
    limit: int
    seconds: int


@dataclass(frozen=True)
class Entry:
    """One operation that waits. `tool` is None while an install's tool has no id yet; `urgent` clears its queue."""

    principal: str
    tool: str | None
    stored: bool
    urgent: bool = False

    @property
    def places(self) -> tuple[Place, ...]:
        tool: tuple[Place, ...] = (("tool", self.tool),) if self.tool is not None else ()
        return (*tool, ("principal", self.principal), ("platform", ""))


@dataclass
class Pace:
    """How fast a queue moves. `since`: it has not been empty since then."""

    since: float
    ends: deque[float] = field(default_factory=lambda: deque[float](maxlen=ENDS_KEPT))
    promised: float = 0.0
    told: dict[str, float] = field(default_factory=dict[str, float])

    def seconds_each(self, now: float) -> float:
        """From one end to the next. Where none was seen yet: as long again as it has been waited for."""
        began = self.ends[0] if self.ends else self.since
        return max(0.0, now - began) / max(1, len(self.ends))

    def promise(self, operation: str, now: float, waiting: int) -> int:
        """When what is turned away now finds room: of several each is told another time, and keeps it.

        None later than all that waits now will take.
        """
        each = self.seconds_each(now)
        latest = now + each * waiting
        told = self.told.get(operation, now)
        if told <= now:
            told = self.promised = min(max(now, self.promised) + each, latest)
            self.told.pop(operation, None)  # so that the oldest stands first
            self.told[operation] = told
            if len(self.told) > TOLD_KEPT:
                del self.told[next(iter(self.told))]
        return min(LATEST, max(SOONEST, math.ceil(min(told, latest) - now)))


class Waiting:
    """`enter` and `leave` may be repeated, and may come in any order."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._counts: Counter[Place] = Counter()
        self._urgent: Counter[str | None] = Counter()
        self._paces: dict[Place, Pace] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, operation: str) -> bool:
        return operation in self._entries

    def enter(self, operation: str, entry: Entry, now: float) -> None:
        for place in entry.places:
            self._counts[place] += 1
            self._paces.setdefault(place, Pace(now))
        self._urgent[entry.tool] += entry.urgent
        self.leave(operation)
        self._entries[operation] = entry

    def leave(self, operation: str) -> None:
        """It waits no more, for a reason that tells nothing of how fast things go."""
        entry = self._entries.pop(operation, None)
        if entry is None:
            return
        self._urgent[entry.tool] -= entry.urgent
        if not self._urgent[entry.tool]:
            del self._urgent[entry.tool]
        for place in entry.places:
            self._counts[place] -= 1
            if not self._counts[place]:
                del self._counts[place]
                del self._paces[place]

    def leave_unless_stored(self, operation: str) -> None:
        entry = self._entries.get(operation)
        if entry is not None and not entry.stored:
            self.leave(operation)

    def stored(self, operation: str, tool: str, now: float) -> None:
        """Its command stands in the stream, under this tool; nothing if it has ended meanwhile."""
        if (entry := self._entries.get(operation)) is not None:
            self.enter(operation, replace(entry, tool=tool, stored=True), now)

    def ended(self, operation: str, now: float) -> None:
        entry = self._entries.get(operation)
        for place in entry.places if entry else ():
            self._paces[place].ends.append(now)
        self.leave(operation)

    def count(self, place: Place) -> int:
        return self._counts[place]

    def on_their_way(self, place: Place) -> int:
        """Those of which it is not known yet that they are stored."""
        return sum(place in entry.places for entry in self._entries.values() if not entry.stored)

    def crowded(self, asked: Entry, limits: Limits) -> list[Place]:
        """All where one more is too many. The first urgent one clears the tool's queue: only all there is can bar it.

        One more behind it would clear nothing that it does not.
        """
        let_in = asked.urgent and not self._urgent[asked.tool]
        barring = [place for place in asked.places if place[0] == "platform" or not let_in]
        return [place for place in barring if self._counts[place] >= limits.of(place[0])]

    def turned_away(self, operation: str, place: Place, limits: Limits, now: float) -> Crowded:
        waiting = self._counts[place]
        pace = self._paces.setdefault(place, Pace(now))
        return Crowded(place, waiting, limits.of(place[0]), pace.promise(operation, now, waiting))

    def differing(self, stored: Mapping[str, int]) -> set[str]:
        """The tools of which the stream holds another number of commands than are counted here."""
        known = Counter(entry.tool for entry in self._entries.values() if entry.stored and entry.tool is not None)
        return {tool for tool in known.keys() | stored.keys() if known[tool] != stored.get(tool, 0)}

    def correct(self, tool: str, found: Mapping[str, Entry], since: Iterable[str], now: float) -> None:
        """What the stream holds of a tool, but for what was heard of `since` it was looked at."""
        heard = set(since)
        here = {id for id, entry in self._entries.items() if entry.tool == tool and entry.stored}
        for operation in here - found.keys() - heard:
            self.leave(operation)
        for operation in found.keys() - self._entries.keys() - heard:
            self.enter(operation, found[operation], now)
