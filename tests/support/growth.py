"""How the cost of some work grows with its input: a comparison, so that a slow machine changes nothing."""

import time
from collections.abc import Callable

FACTOR = 8
RUNS = 5
# Linear work costs 8 times as much, quadratic work 64 times.
GENEROUS = 3 * FACTOR


def grows_with_its_input(work: Callable[[int], object], size: int) -> bool:
    """Whether work on 8 times the size costs little more than 8 times the processor's time."""
    return _cost(work, FACTOR * size) <= GENEROUS * _cost(work, size)


def _cost(work: Callable[[int], object], size: int) -> float:
    """The cheapest of several runs, in seconds of this thread's own: what others do meanwhile counts least in it."""
    costs: list[float] = []
    for _ in range(RUNS):
        before = time.thread_time()
        work(size)
        costs.append(time.thread_time() - before)
    return min(costs)
