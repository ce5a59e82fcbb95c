"""From the POST to the 202 at 32 connections, against a bare route that publishes one message and answers 202.

The gateway alone, on a server of its own that both publish to; nobody carries the commands out. Each round asks
every tool once, so that nothing waits, and then empties the lanes.
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

from nats.js import api

from bench import bare, processes
from bench.bus_alone import Calls
from bench.children import running
from bench.figures import Aim, Row, Sample
from bench.loadgen import Load, Outcome
from bench.probe import first_answer
from bench.stage import Stage, free_port
from bench.turns import in_turn
from libs.contracts.names import random_word, tool_id
from libs.contracts.permissions import Permissions, permissions
from libs.contracts.streams import COMMANDS, EVENTS, Reservation
from libs.runtime.bus.connecting import connect
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.names import Names
from libs.runtime.bus.provision import provision
from libs.runtime.embedded import EmbeddedNats

TOOLS = 1500
CROWDED = 300
WITNESS = "witness"
# Nobody takes the commands, and one asks for all.
NO_LIMITS = {f"MACHETE_WAITING_{place}": "8000" for place in ("PER_PRINCIPAL", "IN_ALL")}
AGAINST = "a bare FastAPI route that publishes a message of the same size to the same server and answers 202"
ALONE = "the one publish of the bare route; both as calls of the same client library, without HTTP"


@dataclass
class Round:
    """What one side came to, beside its requests per second."""

    p50: list[float] = field(default_factory=list[float])
    p99: list[float] = field(default_factory=list[float])
    served: list[float] = field(default_factory=list[float])
    stored: list[float] = field(default_factory=list[float])

    def add(self, outcome: Outcome, server: float, nats: float) -> None:
        self.p50.append(outcome.p50)
        self.p99.append(outcome.p99)
        self.served.append(1000 * server / outcome.answers)
        self.stored.append(1000 * nats / outcome.answers)

    def skip_first(self) -> Round:
        return Round(self.p50[1:], self.p99[1:], self.served[1:], self.stored[1:])


@dataclass(frozen=True)
class Scene:
    """`tools` are (name, id), all reserved."""

    nats: EmbeddedNats
    witness: Bus
    tools: list[tuple[str, str]]
    gateway: Popen[bytes]
    gateway_port: int
    token: str
    bare: Popen[bytes]
    bare_port: int
    command: int
    event: int

    async def empty(self) -> None:
        for stream in (COMMANDS.name, bare.STREAM):
            await self.witness.jetstream.purge_stream(stream)

    async def calls(self, kind: str) -> float:
        await self.empty()
        password = self.nats.credentials[WITNESS]
        calls = Calls(kind, self.nats.url, WITNESS, password, self.tools, self.command, self.event)
        return float(await _told("bench.bus_alone", asdict(calls)))


async def measure(stage: Stage, runs: int) -> list[Row]:
    async with _scene(stage) as scene:
        ours, theirs, unseen = Round(), Round(), Round()
        rates = await in_turn(
            runs,
            lambda: _gateway_round(scene, ours, _once(scene)),
            lambda: _bare_round(scene, theirs),
            lambda: scene.calls("gateway"),
            lambda: scene.calls("bare"),
            lambda: _gateway_round(scene, unseen, _crowded(scene)),
        )
    return _rows(rates, ours.skip_first(), theirs.skip_first())


def _rows(rates: list[Sample], ours: Round, theirs: Round) -> list[Row]:
    gateway, bare_route, calls, publishes, crowded = rates
    shares = [_percent(whole, bus) for whole, bus in ((gateway, calls), (bare_route, publishes))]
    details = {
        "the server's processor time, ms a request": [Sample.of(each.served).median for each in (ours, theirs)],
        "NATS's processor time, ms a request": [Sample.of(each.stored).median for each in (ours, theirs)],
    }
    return [
        Row("accept", "requests/s", gateway, bare_route, Aim(0.6, "at least"), AGAINST, details),
        Row("accept, half within", "ms", Sample.of(ours.p50), Sample.of(theirs.p50)),
        Row("accept, 99 % within", "ms", Sample.of(ours.p99), Sample.of(theirs.p99)),
        Row(f"accept, {TOOLS // CROWDED} waiting a tool", "requests/s", crowded, bare_route),
        Row("accept, bus alone", "requests/s", calls, publishes, against=ALONE),
        Row("accept, share of the bus", "% of time", shares[0], shares[1]),
    ]


def _percent(whole: Sample, bus: Sample) -> Sample:
    """Which part of the time the same calls take without HTTP, round by round."""
    return Sample.of([100 * one / other for one, other in zip(whole.values, bus.values, strict=True)])


def _once(scene: Scene) -> list[str]:
    return [f"/api/v1/tools/{name}/restart" for name, _ in scene.tools]


def _crowded(scene: Scene) -> list[str]:
    return _once(scene)[:CROWDED] * (TOOLS // CROWDED)


async def _gateway_round(scene: Scene, kept: Round, paths: Sequence[str]) -> float:
    headers = {"Authorization": f"Bearer {scene.token}"}
    return await _round(scene, kept, scene.gateway, Load(scene.gateway_port, paths, headers))


async def _bare_round(scene: Scene, kept: Round) -> float:
    paths = [f"/tools/{name}/restart" for name, _ in scene.tools]
    return await _round(scene, kept, scene.bare, Load(scene.bare_port, paths))


async def _round(scene: Scene, kept: Round, server: Popen[bytes], load: Load) -> float:
    await scene.empty()
    nats = scene.nats.pid or 0
    before = [processes.processor_seconds([pid]) for pid in (server.pid, nats)]
    outcome = Outcome(**json.loads(await _told("bench.loadgen", asdict(load))))
    if outcome.others:
        raise RuntimeError(f"not all were accepted: {outcome.others}")
    after = [processes.processor_seconds([pid]) for pid in (server.pid, nats)]
    kept.add(outcome, after[0] - before[0], after[1] - before[1])
    return outcome.per_second


async def _told(module: str, what: dict[str, Any]) -> str:
    """What a module, run as a process of its own and told this on stdin, printed."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, stdin=PIPE, stdout=PIPE)
    said, _ = await process.communicate(json.dumps(what).encode())
    if process.returncode != 0:
        raise RuntimeError(f"{module} ended with {process.returncode}")
    return said.decode()


@asynccontextmanager
async def _scene(stage: Stage) -> AsyncGenerator[Scene]:
    data = stage.data("accept")
    users = {**permissions(), WITNESS: Permissions(publish=(">",), subscribe=(">",))}
    gateway_port, bare_port = free_port(), free_port()
    async with EmbeddedNats(data, users) as nats, _connected(nats, "platform") as platform:
        await provision(platform, ack_wait=10.0)
        async with _connected(nats, WITNESS) as witness:
            await witness.jetstream.add_stream(api.StreamConfig(name=bare.STREAM, subjects=["bare.*"]))
            tools = await _reserved(witness)
            gateway = [sys.executable, "-m", "services", "gateway"]
            env = stage.environment(
                MACHETE_DATA=str(data), MACHETE_NATS_URL=nats.url, MACHETE_PORT=str(gateway_port), **NO_LIMITS
            )
            with running(gateway, env, data / "gateway.log") as process:
                await first_answer(gateway_port, "/api/health")
                token = (data / "admin.token").read_text().strip()
                command, event = await _sizes(witness, gateway_port, token, tools[0][0])
                password = nats.credentials[WITNESS]
                other = [sys.executable, "-m", "bench.bare", bare_port, nats.url, WITNESS, password, command]
                with running([str(word) for word in other], stage.environment(), data / "bare.log") as theirs:
                    await first_answer(bare_port, "/health")
                    yield Scene(nats, witness, tools, process, gateway_port, token, theirs, bare_port, command, event)


def _connected(nats: EmbeddedNats, user: str) -> Any:
    return connect(nats.url, user=user, password=nats.credentials[user], service=user, source=f"{user}/bench")


async def _reserved(bus: Bus) -> list[tuple[str, str]]:
    """Names held by tools that were never installed: all that the gateway looks at."""
    names = Names(bus)
    tools = [(f"bench-{number}", tool_id(f"bench-{number}", random_word(26))) for number in range(TOOLS)]

    async def reserve(name: str, tool: str) -> None:
        await names.reserve(name, Reservation(tool=tool, operation="op-bench", reserved_at=time.time()), 0)

    for start in range(0, TOOLS, 100):
        await asyncio.gather(*(reserve(*each) for each in tools[start : start + 100]))
    return tools


async def _sizes(witness: Bus, port: int, token: str, name: str) -> tuple[int, int]:
    """Of the command and of the event that one accepted request stores, in bytes."""
    load = Load(port, [f"/api/v1/tools/{name}/restart"], {"Authorization": f"Bearer {token}"}, connections=1)
    await _told("bench.loadgen", asdict(load))
    stored = [await witness.next(stream, ">", 1) for stream in (COMMANDS, EVENTS)]
    sizes = [len(kept.data) for kept in stored if kept is not None]
    return sizes[0], sizes[1]
