"""Who has to give up how much of a room that is too small for all: whoever has the most, and nobody who has little."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Holding:
    """`messages` under one subject, which take about `size` bytes together."""

    subject: str
    messages: int
    size: float


@dataclass(frozen=True)
class Cut:
    """Of what stands under a subject the newest `keep` stay, which frees about `gain` bytes."""

    subject: str
    keep: int
    gain: float


def level(sizes: Iterable[float], room: float) -> float:
    """The most that each may have so that all together have `room`; infinite where they have no more anyway.

    As water finds it: whoever has less leaves what he does not need to those who have more.
    """
    left, ordered = room, sorted(sizes)
    for number, size in enumerate(ordered):
        share = left / (len(ordered) - number)
        if size > share:
            return share
        left -= size
    return math.inf


def cuts(holdings: Sequence[Holding], room: float) -> list[Cut]:
    """What must go so that all together take no more than `room`, as far as that is possible.

    The newest message of each stays. What is below their `level` loses nothing; the rest comes down to it.
    """
    most = level((each.size for each in holdings), room)
    found: list[Cut] = []
    for each in holdings:
        keep = max(1, math.floor(each.messages * most / each.size)) if each.size > most else each.messages
        if keep < each.messages:
            found.append(Cut(each.subject, keep, each.size * (each.messages - keep) / each.messages))
    return found
