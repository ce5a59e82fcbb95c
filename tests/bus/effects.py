"""What workers did to the world, written down by themselves, and whether that was allowed.

One line for each thing in one file that all processes append to. Times are CLOCK_MONOTONIC, the same
clock in every process of a machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from libs.contracts.operations import CancelRequested, OperationAccepted, OperationEnded, OperationStarted
from libs.runtime.bus.records import Record


@dataclass(frozen=True)
class Effect:
    """`what`: `act`, `recover` or a task's name; `phase`: `begin`, `tick` or `end`."""

    at: float
    worker: str
    tool: str
    operation: str
    fence: int
    what: str
    phase: str


@dataclass(frozen=True)
class Stretch:
    """One piece of work of one worker, from its first sign to its last."""

    worker: str
    tool: str
    operation: str
    fence: int
    what: str
    begun: float
    last: float
    ended: bool


class Effects:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def write(self, worker: str, tool: str, operation: str, fence: int, what: str, phase: str) -> None:
        line = f"{time.monotonic()} {worker} {tool} {operation} {fence} {what} {phase}\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)

    def __iter__(self) -> Iterator[Effect]:
        for line in self.path.read_text().splitlines():
            at, worker, tool, operation, fence, what, phase = line.split(" ")
            yield Effect(float(at), worker, tool, operation, int(fence), what, phase)

    def of(self, operation: str, what: str | None = None, phase: str = "begin") -> list[Effect]:
        return [
            each for each in self if each.operation == operation and each.phase == phase and what in (None, each.what)
        ]

    def signs_after(self, worker: str, at: float) -> int:
        """How often this worker's work was seen after that moment."""
        return sum(each.worker == worker and each.phase == "tick" and each.at > at for each in self)

    def stretches(self) -> list[Stretch]:
        """A worker begins one piece of work anew only after it ended or was broken off."""
        found: list[Stretch] = []
        open_ones: dict[tuple[str, str, int, str], list[Effect]] = {}
        for effect in sorted(self, key=lambda each: each.at):
            key = (effect.worker, effect.operation, effect.fence, effect.what)
            if effect.phase == "begin" and key in open_ones:
                found.append(_stretch(open_ones.pop(key)))
            open_ones.setdefault(key, []).append(effect)
        found.extend(_stretch(effects) for effects in open_ones.values())
        return sorted(found, key=lambda each: each.begun)


def _stretch(effects: Sequence[Effect]) -> Stretch:
    first, last = effects[0], effects[-1]
    return Stretch(
        first.worker, first.tool, first.operation, first.fence, first.what, first.at, last.at, last.phase == "end"
    )


def assert_alone(stretches: Iterable[Stretch], records: dict[str, Record]) -> None:
    """No two pieces of work on one tool at the same time, unless the older one is fenced off.

    Fenced off is what a later start of the same operation replaced: that may go on until it notices.
    """
    tools: dict[str, list[Stretch]] = {}
    for stretch in stretches:
        tools.setdefault(stretch.tool, []).append(stretch)
    for tool, parts in tools.items():
        for first, second in combinations(parts, 2):
            if second.begun >= first.last:
                continue
            same_attempt = (first.worker, first.operation, first.fence) == (
                second.worker,
                second.operation,
                second.fence,
            )
            fenced_off = first.fence < records[first.operation].fence
            assert same_attempt or fenced_off, f"{tool}: at the same time\n  {first}\n  {second}"
    for stretch in (part for parts in tools.values() for part in parts):
        starts = [sequence for sequence, _ in records[stretch.operation].starts]
        assert stretch.fence in starts, f"work under a fence that nobody took: {stretch}"


def assert_in_order(stretches: Iterable[Stretch], operations: Sequence[str]) -> None:
    """The operations of one tool began to act in this order; those that never acted are passed over."""
    first: dict[str, float] = {}
    for stretch in stretches:
        first.setdefault(stretch.operation, stretch.begun)
    begun = [first[operation] for operation in operations if operation in first]
    assert begun == sorted(begun), f"out of order: {[each for each in operations if each in first]}"


def assert_well_formed(record: Record) -> None:
    """accepted, then starts and at most one cancel request, then one end that answers the last start."""
    events = [entry.event for entry in record.entries]
    kinds = [
        next(
            letter
            for kind, letter in (
                (OperationAccepted, "a"),
                (OperationStarted, "s"),
                (CancelRequested, "c"),
                (OperationEnded, "e"),
            )
            if isinstance(event, kind)
        )
        for event in events
    ]
    word = "".join(kinds)
    assert word[:1] == "a", word
    assert word[-1:] == "e", word
    assert (word.count("a"), word.count("e")) == (1, 1), word
    assert word.count("c") <= 1, word
    ended = events[-1]
    assert isinstance(ended, OperationEnded)
    assert ended.fence == record.fence, f"{word}: the end answers {ended.fence}, the last start is {record.fence}"
    assert [start.attempt for _, start in record.starts] == list(range(1, len(record.starts) + 1)), word
    assert len({entry.id for entry in record.entries}) == len(record.entries), word
