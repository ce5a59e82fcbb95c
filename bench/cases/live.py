"""A thousand look on while 200 events a second happen, then 4,000 at once: against a bare WebSocket server.

Nine in ten follow a tool of their own, each event as it comes; one in ten follows everything, ten times a second. From
when NATS stored an event, by its own clock, to when a client had it. Server, clients and NATS share the machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from subprocess import PIPE, Popen
from typing import Any

from nats.js.api import ConsumerConfig, DeliverPolicy

from bench import processes
from bench.children import running
from bench.figures import Aim, Row, Sample
from bench.histories import lives, observed, tell, tool
from bench.lookers import Looking, Seen
from bench.probe import first_answer
from bench.stage import Stage, free_port
from bench.turns import in_turn
from libs.contracts.permissions import Permissions, permissions
from libs.contracts.streams import EVENTS
from libs.contracts.tools import Tool
from libs.runtime.bus.connecting import connect
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.provision import provision
from libs.runtime.bus.reader import extent
from libs.runtime.embedded import EmbeddedNats

LOOKERS, TOGETHER = 1000, 100
RATE, SECONDS = 200, 10.0
BURST = 4000
BURST_ENDS = 3.0
WITNESS = "witness"
AGAINST = "a bare Starlette WebSocket that passes on what NATS brings: no token, no cursor, no past, nothing checked"


@dataclass
class Round:
    """What one side came to, beside its median latency. Milliseconds, percent of a core, KB."""

    most: list[float] = field(default_factory=list[float])
    together: list[float] = field(default_factory=list[float])
    together_most: list[float] = field(default_factory=list[float])
    busy: list[float] = field(default_factory=list[float])
    memory: list[float] = field(default_factory=list[float])
    burst: list[float] = field(default_factory=list[float])


@dataclass(frozen=True)
class Side:
    """A server, and how its clients ask it; `paths` are those of all lookers."""

    process: Popen[bytes]
    port: int
    paths: Sequence[str]
    headers: dict[str, str]


async def measure(stage: Stage, runs: int) -> list[Row]:
    tools = [tool(f"bench-{number}") for number in range(LOOKERS - TOGETHER)]
    async with _scene(stage, tools) as (bus, ours, theirs):
        rounds = Round(), Round()
        half = await in_turn(
            runs,
            lambda: _round(bus, tools, ours, rounds[0]),
            lambda: _round(bus, tools, theirs, rounds[1]),
        )
    mine, other = rounds

    def row(name: str, unit: str, which: str, aim: Aim | None = None, against: str = "") -> Row:
        # What the first clients took is never given back, so it is seen once; all else is counted from the second on.
        counted = slice(0, 1) if which == "memory" else slice(1, None)
        one, two = (Sample.of(getattr(each, which)[counted]) for each in (mine, other))
        return Row(name, unit, one, two, aim, against)

    return [
        Row("live, half within", "ms", half[0], half[1], None, AGAINST),
        row("live, 99 % within", "ms", "most"),
        row("live together, half within", "ms", "together"),
        row("live together, 99 % within", "ms", "together_most"),
        row("live, server", "% of a core", "busy"),
        row("live, memory a client", "KB", "memory"),
        row(f"live, behind after {BURST} at once", "ms", "burst"),
    ]


async def _round(bus: Bus, tools: Sequence[Tool], side: Side, kept: Round) -> float:
    """1,000 connect; events come at their rate, then as fast as they can; all leave."""
    empty = _memory(side)
    looking = Looking(side.port, list(side.paths), TOGETHER, side.headers)
    async with _lookers(looking) as lookers:
        await asyncio.sleep(1.0)
        kept.memory.append((_memory(side) - empty) / len(side.paths) / 1000)
        before, begun = processes.processor_seconds([side.process.pid]), time.monotonic()
        first = (await extent(bus, EVENTS)).last + 1
        await _happen(bus, tools)
        kept.busy.append(100 * (processes.processor_seconds([side.process.pid]) - before) / (time.monotonic() - begun))
        await asyncio.sleep(1.0)
        seen = await _asked(lookers, await _stored(bus, first))
    if seen.missed:
        raise RuntimeError(f"{seen.missed} events did not reach who follows them")
    async with _lookers(looking) as lookers:
        first, begun_at = (await extent(bus, EVENTS)).last + 1, time.time_ns()
        await tell(bus, [observed(tools[number % len(tools)], number) for number in range(BURST)])
        told = time.time_ns() - begun_at
        await asyncio.sleep(BURST_ENDS)
        burst = await _asked(lookers, await _stored(bus, first))
    kept.burst.append(1000 * max(0, burst.last - begun_at - told) / 1e9)
    for values, value in zip(
        (kept.most, kept.together, kept.together_most), (seen.alone[1], *seen.together), strict=True
    ):
        values.append(value)
    return seen.alone[0]


async def _happen(bus: Bus, tools: Sequence[Tool]) -> None:
    clock = asyncio.get_running_loop()
    begun, telling = clock.time(), set[asyncio.Task[Any]]()
    for number in range(int(RATE * SECONDS)):
        await asyncio.sleep(max(0.0, begun + number / RATE - clock.time()))
        telling.add(asyncio.create_task(bus.publish(EVENTS, observed(tools[number * 7 % len(tools)], number))))
    await asyncio.gather(*telling)


async def _stored(bus: Bus, first: int) -> dict[str, int]:
    """When each event from this sequence on was stored, in nanoseconds, by the server's clock."""
    last = (await extent(bus, EVENTS)).last
    config = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=first)
    subscription = await bus.jetstream.subscribe(">", stream=EVENTS.name, ordered_consumer=True, config=config)
    found: dict[str, int] = {}
    while True:
        message = await subscription.next_msg(timeout=30)
        about = message.metadata
        found[json.loads(message.data)["id"]] = round(about.timestamp.timestamp() * 1e9)
        if about.sequence.stream >= last:
            await subscription.unsubscribe()
            return found


def _memory(side: Side) -> int:
    return sum(each.rss for each in processes.usage(side.process.pid))


@asynccontextmanager
async def _lookers(looking: Looking) -> AsyncGenerator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.lookers", stdin=PIPE, stdout=PIPE, limit=1 << 26
    )
    try:
        said = await _exchanged(process, asdict(looking))
        if said.strip() != b"ready":
            raise RuntimeError(f"those who look on did not get there: {said!r}")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _asked(lookers: asyncio.subprocess.Process, stored: dict[str, int]) -> Seen:
    return Seen(**json.loads(await _exchanged(lookers, stored)))


async def _exchanged(process: asyncio.subprocess.Process, what: object) -> bytes:
    """A line for a line."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("it was started without pipes")
    process.stdin.write(json.dumps(what).encode() + b"\n")
    await process.stdin.drain()
    return await process.stdout.readline()


@asynccontextmanager
async def _scene(stage: Stage, tools: Sequence[Tool]) -> AsyncGenerator[tuple[Bus, Side, Side]]:
    data = stage.data("live")
    users = {**permissions(), WITNESS: Permissions(publish=(">",), subscribe=(">",))}
    port, bare_port = free_port(), free_port()
    async with EmbeddedNats(data, users) as nats, _connected(nats, "platform") as platform:
        await provision(platform, ack_wait=10.0)
        async with _connected(nats, WITNESS) as bus:
            await tell(bus, lives(tools, 1))
            argv = [sys.executable, "-m", "services", "gateway", "status"]
            env = stage.environment(MACHETE_DATA=str(data), MACHETE_NATS_URL=nats.url, MACHETE_PORT=str(port))
            bare = [
                sys.executable,
                "-m",
                "bench.bare_live",
                str(bare_port),
                nats.url,
                WITNESS,
                nats.credentials[WITNESS],
            ]
            with (
                running(argv, env, data / "status.log") as ours,
                running(bare, stage.environment(), data / "bare.log") as theirs,
            ):
                await first_answer(port, "/api/health")
                await first_answer(bare_port, "/health")
                token = (data / "admin.token").read_text().strip()
                followed = [f"/api/v1/live?topic=tool:{each.id}" for each in tools]
                all_paths = [*followed, *["/api/v1/live?topic=tools&pace=100"] * TOGETHER]
                bare_paths = [*(f"/live?tool={each.id}" for each in tools), *["/live"] * TOGETHER]
                yield (
                    bus,
                    Side(ours, port, all_paths, {"Authorization": f"Bearer {token}"}),
                    Side(theirs, bare_port, bare_paths, {}),
                )


def _connected(nats: EmbeddedNats, user: str) -> Any:
    return connect(nats.url, user=user, password=nats.credentials[user], service=user, source=f"{user}/bench")
