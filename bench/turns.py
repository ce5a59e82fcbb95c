"""Measuring two things in turn, so that whatever else the machine does meets both alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bench.figures import Sample

Measure = Callable[[], Awaitable[float]]


async def in_turn(runs: int, ours: Measure, theirs: Measure) -> tuple[Sample, Sample]:
    """A B A B …, after each was done once uncounted."""
    await ours()
    await theirs()
    taken = [(await ours(), await theirs()) for _ in range(runs)]
    return Sample.of([each[0] for each in taken]), Sample.of([each[1] for each in taken])
