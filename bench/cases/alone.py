"""A platform with nothing to do: how soon it is there, what it takes while it waits."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from bench import processes
from bench.figures import Aim, Row, Sample
from bench.platform import healthy, launched
from bench.stage import Stage, free_port

IDLE_SECONDS = 20.0


async def startup(stage: Stage, runs: int) -> list[Row]:
    """To `/api/health` saying ready; on fresh data, and on the same data once more."""
    fresh: list[float] = []
    again: list[float] = []
    for _ in range(runs + 1):  # the first one, uncounted, finds nothing in the caches
        data = stage.data("startup")
        fresh.append(await _seconds_to_health(stage, data))
        again.append(await _seconds_to_health(stage, data))
    aim = Aim(2.0, on="value")
    return [
        Row("startup, fresh data", "s", Sample.of(fresh[1:]), aim=aim),
        Row("startup, existing data", "s", Sample.of(again[1:]), aim=aim),
    ]


async def rest(stage: Stage, runs: int) -> list[Row]:
    """Memory and processor time of the whole tree of processes, NATS included, over 20 seconds of nothing."""
    sizes: list[list[processes.Usage]] = []
    shares: list[float] = []
    await _seconds_to_health(stage, stage.data("rest"))  # compiling would count as memory
    for _ in range(runs):
        data, port = stage.data("rest"), free_port()
        with launched(stage, data, port) as process:
            await healthy(process, data, port)
            await asyncio.sleep(2.0)  # starting is not idling
            shares.append(await _busy(process.pid))
            sizes.append(processes.usage(process.pid))
    whole = {"pss": _sums(sizes, "pss"), "rss": _sums(sizes, "rss")}
    each = {name: f"{pss:.1f} MB PSS, {rss:.1f} MB RSS" for name, pss, rss in _by_name(sizes[-1])}
    return [
        Row("memory, PSS", "MB", whole["pss"], aim=Aim(150, on="value"), details=each),
        Row("memory, RSS", "MB", whole["rss"]),
        Row("idle", "% of a core", Sample.of(shares)),
    ]


async def _seconds_to_health(stage: Stage, data: Path) -> float:
    port, start = free_port(), time.monotonic()
    with launched(stage, data, port) as process:
        return await healthy(process, data, port) - start


async def _busy(root: int) -> float:
    """Percent of one core that the tree used."""
    before, start = processes.processor_seconds(processes.tree(root)), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    used = processes.processor_seconds(processes.tree(root)) - before
    return 100 * used / (time.monotonic() - start)


def _sums(sizes: list[list[processes.Usage]], which: str) -> Sample:
    return Sample.of([sum(getattr(usage, which) for usage in each) / 1e6 for each in sizes])


def _by_name(usages: list[processes.Usage]) -> list[tuple[str, float, float]]:
    return [(f"{usage.name} ({usage.pid})", usage.pss / 1e6, usage.rss / 1e6) for usage in usages]


if not os.path.exists("/proc/self/smaps_rollup"):
    raise ImportError("memory is measured as the Linux kernel tells it: /proc/self/smaps_rollup is missing")
