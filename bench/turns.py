"""Measuring several things in turn, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bench.figures import Sample

Measure = Callable[[], Awaitable[float]]


async def in_turn(runs: int, *measures: Measure) -> list[Sample]:
    """A B A B …, after each was done once uncounted; a sample for each, in their order."""
    taken = [[await measure() for measure in measures] for _ in range(runs + 1)]
    return [Sample.of(values) for values in zip(*taken[1:], strict=True)]
