"""What each more tool costs a platform at rest: idle time, memory, start, lists; drawn into `docs/growth.svg`.

The tools are registered by the events that their installs would have told, and stopped: there is no container, whose
cost would be the engine's. Every service has them before it, as after any restart: tables, states, the reconciler.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect as look

from bench import processes
from bench.children import ROOT
from bench.curves import Curve, drawn
from bench.figures import Aim, Row, Sample
from bench.histories import AT_ONCE, operation, tool
from bench.platform import Platform, platform
from bench.stage import Stage
from libs.contracts.streams import EVENTS, STATES
from libs.contracts.tools import Tool, ToolRecorded, ToolState
from libs.runtime.bus.connecting import connect
from libs.runtime.bus.connection import Bus

COUNTS = (10, 100, 500, 1000)
LISTED = 2000
SETTLED = 15.0
IDLE_SECONDS = 20.0
REPEATED = 15
MOST_RUNS = 3
PLOT = ROOT / "docs" / "growth.svg"
QUERY = "SELECT body FROM tools WHERE gone = 0 ORDER BY name, id LIMIT 101"
WHOLE = "SELECT body FROM tools WHERE gone = 0 ORDER BY name, id"
FILTER = "SELECT body FROM operations WHERE tool_name = 'bench-7' ORDER BY accepted DESC LIMIT 101"


@dataclass
class Cost:
    """Of a platform with so many tools, run by run: seconds, of a core too, percent of a core, MB, milliseconds."""

    start: list[float] = field(default_factory=list[float])
    work: list[float] = field(default_factory=list[float])
    idle: list[float] = field(default_factory=list[float])
    memory: list[float] = field(default_factory=list[float])
    page: list[float] = field(default_factory=list[float])
    each: dict[str, str] = field(default_factory=dict[str, str])


async def measure(stage: Stage, runs: int) -> list[Row]:
    costs: dict[int, Cost] = {}
    for count in COUNTS:
        data = await _registered(stage, count)
        costs[count] = Cost()
        for _ in range(min(runs, MOST_RUNS)):
            await _rested(stage, data, costs[count])
    PLOT.write_text(_plot(costs))
    return [row for count, cost in costs.items() for row in _rows(count, cost, costs[COUNTS[0]])]


async def lists(stage: Stage, runs: int) -> list[Row]:
    """With 2,000 tools: what HTTP and the WebSocket take, against the same rows asked of the same file."""
    data = await _registered(stage, LISTED)
    taken: dict[str, tuple[list[float], list[float]]] = {}
    async with platform(stage, data) as running:
        await _until_listed(running, LISTED)
        file = data / "status" / "status.db"
        for name, ours, query in (
            ("list, first page", lambda: _get(running, "/api/v1/tools", limit=100), QUERY),
            ("list, operations of one", lambda: _get(running, "/api/v1/operations", tool="bench-7", limit=100), FILTER),
            ("states, whole", lambda: _snapshot(running), WHOLE),
        ):
            both: tuple[list[float], list[float]] = [], []
            for _ in range(1 + max(runs, REPEATED)):
                both[0].append(await _timed(ours))
                both[1].append(await asyncio.to_thread(_asked, file, query))
            taken[name] = both[0][1:], both[1][1:]
    against = "the same rows, asked of the same SQLite file by the same query, and parsed as JSON"
    return [Row(name, "ms", Sample.of(ours), Sample.of(bare), None, against) for name, (ours, bare) in taken.items()]


def _rows(count: int, cost: Cost, least: Cost) -> list[Row]:
    idle = Aim(3.0, on="value") if count == 500 else None
    more = (Sample.of(cost.memory).median - Sample.of(least.memory).median) * 1000 / max(1, count - COUNTS[0])
    return [
        Row(f"{count} tools, idle", "% of a core", Sample.of(cost.idle), aim=idle),
        Row(f"{count} tools, memory", "MB", Sample.of(cost.memory), details={"KB a tool": round(more, 1), **cost.each}),
        Row(f"{count} tools, start", "s", Sample.of(cost.start)),
        Row(f"{count} tools, work of starting", "s of a core", Sample.of(cost.work)),
        Row(f"{count} tools, first page", "ms", Sample.of(cost.page)),
    ]


def _plot(costs: dict[int, Cost]) -> str:
    def curve(name: str, unit: str, which: str) -> Curve:
        return Curve(name, unit, [(count, Sample.of(getattr(cost, which)).median) for count, cost in costs.items()])

    return drawn(
        "What tools cost a platform at rest",
        "tools",
        (
            curve("idle, all processes", "% of a core", "idle"),
            curve("memory, PSS", "MB", "memory"),
            curve("work until healthy", "s of a core", "work"),
        ),
    )


async def _registered(stage: Stage, count: int) -> Path:
    """The data of a platform that has so many tools and is stopped."""
    data = stage.data(f"growth-{count}")
    async with platform(stage, data) as running, _orchestrator(data) as bus:
        tools = [tool(f"bench-{number}").model_copy(update=STOPPED) for number in range(count)]
        for start in range(0, count, AT_ONCE):
            await asyncio.gather(*(_installed(bus, each) for each in tools[start : start + AT_ONCE]))
        await _until_listed(running, count)
    return data


STOPPED: dict[str, Any] = {"state": ToolState.STOPPED, "desired": "stopped", "services": ()}


async def _installed(bus: Bus, one: Tool) -> None:
    accepted, started, *_ = operation(one, 0, 0)
    await bus.publish(EVENTS, accepted)
    fence = (await bus.publish(EVENTS, started)).sequence
    for event in operation(one, 0, fence)[2:]:
        ended = (await bus.publish(EVENTS, event)).sequence
    operation_id = getattr(accepted, "operation", "")
    await bus.publish(STATES, ToolRecorded(tool=one.id, fence=ended, operation=operation_id, state=one))


def _orchestrator(data: Path) -> Any:
    """Whom the bus lets say what is said here."""
    passwords = json.loads((data / "nats" / "credentials.json").read_text())
    port, user = int((data / "nats" / "port").read_text()), "orchestrator"
    return connect(f"nats://127.0.0.1:{port}", user=user, password=passwords[user], service=user, source="bench")


async def _rested(stage: Stage, data: Path, cost: Cost) -> None:
    begun = time.monotonic()
    async with platform(stage, data) as running:
        cost.start.append(time.monotonic() - begun)
        cost.work.append(processes.processor_seconds(processes.tree(running.process.pid)))
        await asyncio.sleep(SETTLED)  # starting is not idling
        pids = processes.tree(running.process.pid)
        before, begun = processes.processor_seconds(pids), time.monotonic()
        await asyncio.sleep(IDLE_SECONDS)
        cost.idle.append(100 * (processes.processor_seconds(pids) - before) / (time.monotonic() - begun))
        usages = processes.usage(running.process.pid)
        cost.memory.append(sum(each.pss for each in usages) / 1e6)
        cost.each = {each.name: f"{each.pss / 1e6:.1f} MB PSS" for each in usages}
        await _get(running, "/api/v1/tools", limit=100)
        pages = [await _timed(lambda: _get(running, "/api/v1/tools", limit=100)) for _ in range(REPEATED)]
        cost.page.append(Sample.of(pages).median)


async def _until_listed(running: Platform, count: int) -> None:
    give_up = time.monotonic() + 120
    while True:
        listed, after = 0, ""
        while True:
            page = await _get(running, "/api/v1/tools", limit=500, **({"after": after} if after else {}))
            listed, after = listed + len(page["tools"]), page["next"]
            if not after:
                break
        if listed == count:
            return
        if time.monotonic() > give_up:
            raise RuntimeError(f"{listed} of {count} tools are listed")
        await asyncio.sleep(0.2)


async def _get(running: Platform, path: str, **query: Any) -> dict[str, Any]:
    answer = await running.client.get(path, params=query)
    answer.raise_for_status()
    return answer.json()


async def _snapshot(running: Platform) -> int:
    """All frames of the first picture; the number of tools in it."""
    address = f"ws://127.0.0.1:{running.port}/api/v1/live?topic=states"
    headers = {"Authorization": running.client.headers["authorization"]}
    async with look(address, additional_headers=headers, compression=None, max_size=None) as socket:
        count, more = 0, True
        while more:
            said = json.loads(await socket.recv())["states"]
            count, more = count + len(said["tools"]), said["more"]
    return count


async def _timed(what: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await what()
    return 1000 * (time.perf_counter() - begun)


def _asked(file: Path, query: str) -> float:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        begun = time.perf_counter()
        found: Sequence[Any] = [json.loads(body) for (body,) in connection.execute(query)]
        if not found:
            raise RuntimeError("there was nothing to be asked for")
        return 1000 * (time.perf_counter() - begun)
