"""What a user feels of bad neighbours: one tool is asked for more than is done, another prints without end.

The same things are timed beside them and without them, in turn: the 202, a stop and a start to their ends, and a line
from the moment the tool is told to print it to the WebSocket.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from websockets.asyncio.client import connect

from bench.cases.logs import repository
from bench.figures import Row, Sample
from bench.platform import Platform, platform
from bench.stage import Stage
from deploy.githost import GitHost

CALM, PUSHED, LOUD = "bench-calm", "bench-pushed", "bench-loud"
AGAINST = "the same without a tool that is asked for more than is done and one that prints without end"
ANSWERS = "while :; do if [ -e /data/say ]; then rm /data/say; i=$((i+1)); echo said $i; fi; sleep 0.02; done"
PRINTS = "while :; do if [ -e /data/go ]; then seq 1 20000; else sleep 0.05; fi; done"
PUSHERS = 4
WITHIN = 120.0


@dataclass
class Felt:
    """Milliseconds."""

    accepted: list[float] = field(default_factory=list[float])
    stopped: list[float] = field(default_factory=list[float])
    started: list[float] = field(default_factory=list[float])
    said: list[float] = field(default_factory=list[float])


async def measure(stage: Stage, runs: int) -> list[Row]:
    alone, beside = Felt(), Felt()
    refused: list[int] = []
    with GitHost(stage.fresh("git")) as host:
        async with platform(stage, stage.data("neighbours")) as ours:
            for name, script in ((CALM, ANSWERS), (PUSHED, "sleep 1000 & wait $!"), (LOUD, PRINTS)):
                source = repository(stage.fresh(name), f"trap 'exit 0' TERM; {script}")
                await ours.do("/tools", {"git_url": host.publish(source), "name": name, "start": True})
            for _ in range(runs + 1):
                await _round(ours, alone)
                async with _bad_neighbours(ours, refused):
                    await _round(ours, beside)
            for name in (CALM, PUSHED, LOUD):
                await ours.uninstall(name)
    said = {"accepted": "202", "stopped": "stop", "started": "start", "said": "a line to the WebSocket"}
    return [
        Row(
            f"neighbour, {what}",
            "ms",
            _but_first(beside, each),
            _but_first(alone, each),
            None,
            AGAINST,
            {"429": refused},
        )
        for each, what in said.items()
    ]


def _but_first(felt: Felt, what: str) -> Sample:
    return Sample.of(getattr(felt, what)[1:])


async def _round(ours: Platform, felt: Felt) -> None:
    felt.said.append(await _line(ours))
    for action, found in (("stop", felt.stopped), ("start", felt.started)):
        begun = time.perf_counter()
        accepted = await ours.post(f"/tools/{CALM}/{action}")
        if action == "stop":
            felt.accepted.append(1000 * (time.perf_counter() - begun))
        await ours.ended(accepted)
        found.append(1000 * (time.perf_counter() - begun))


async def _line(ours: Platform) -> float:
    address = f"ws://127.0.0.1:{ours.port}/api/v1/live?topic=logs:{CALM}"
    asked = {"Authorization": ours.client.headers["Authorization"]}
    async with connect(address, additional_headers=asked, proxy=None) as live, asyncio.timeout(WITHIN):
        folder = await _folder(ours, CALM)
        begun = time.perf_counter()
        (folder / "say").touch()
        while "log" not in json.loads(await live.recv()):
            continue
        return 1000 * (time.perf_counter() - begun)


async def _folder(ours: Platform, name: str) -> Path:
    shown = (await ours.client.get(f"/api/v1/tools/{name}")).json()
    return ours.data / "tools" / shown["id"] / "data" / "data"


@asynccontextmanager
async def _bad_neighbours(ours: Platform, refused: list[int]) -> AsyncGenerator[None]:
    """Until their queue is full and lines come; at the end all that waits is cancelled by a stop that overtakes it."""
    loud = await _folder(ours, LOUD) / "go"
    loud.touch()
    pushing = [asyncio.create_task(_push(ours, refused)) for _ in range(PUSHERS)]
    await asyncio.sleep(3)
    try:
        yield
    finally:
        for each in pushing:
            each.cancel()
        await asyncio.gather(*pushing, return_exceptions=True)
        loud.unlink()
        await ours.ended(await ours.post(f"/tools/{PUSHED}/stop?now=true"))


async def _push(ours: Platform, refused: list[int]) -> None:
    """As fast as it is answered; told to come again, a tenth of a second later, whatever it was told."""
    headers = dict(ours.client.headers)
    async with httpx.AsyncClient(base_url=ours.client.base_url, headers=headers, timeout=60) as client:
        while True:
            answer = await client.post(f"/api/v1/tools/{PUSHED}/restart")
            if answer.status_code == 429:
                refused.append(int(answer.headers["Retry-After"]))
                await asyncio.sleep(0.1)
