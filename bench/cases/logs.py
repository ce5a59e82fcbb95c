"""A container that prints as fast as it can: to a WebSocket client, against `docker logs -f` to a file.

Both sides follow a container that is up already and begins to print when it is told to; the time is from that word to
the last line. Ours goes through the follower, JetStream and the status service, is stored, and can be resumed. What a
follower is too slow for is told by the platform in gaps; the lines are numbered, so that the bench counts for itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from websockets.asyncio.client import connect

from bench import engine, processes
from bench.children import dying_with_us
from bench.figures import Row, Sample
from bench.platform import Platform, platform
from bench.stage import Stage
from bench.turns import in_turn
from deploy.githost import GitHost
from deploy.setup.images import BUSYBOX

LINES = int(os.environ.get("BENCH_LOG_LINES", "1000000"))
NAME = "bench-flood"
READY = "ready"
WITHIN = 300.0
EVERY = 0.2
MB = 1024 * 1024


def flooding(lines: int) -> str:
    """A shell's words: `ready`, then for each file `go` the numbers from 1, one a line."""
    flood = f"seq 1 {lines}; rm -f /data/go"
    return f"trap 'exit 0' TERM; echo {READY}; while :; do if [ -e /data/go ]; then {flood}; fi; sleep 0.05; done"


def repository(folder: Path, script: str) -> Path:
    """A tool that runs this script, ready to be published."""
    (folder / "Dockerfile").write_text(f"FROM {BUSYBOX}\nCMD {json.dumps(['sh', '-c', script])}\n")
    (folder / "machete.yml").write_text(json.dumps({"version": "1.0.0", "machete": {"volumes": ["./data:/data"]}}))
    return folder


@dataclass
class Received:
    """`missed` is what was told in gaps, `unexplained` what was neither received nor told."""

    lines: int = 0
    missed: int = 0
    last: int = 0
    skipped: int = 0
    holes: int = 0

    @property
    def unexplained(self) -> int:
        return self.skipped - self.missed

    def take(self, frame: dict[str, object]) -> bool:
        """Whether that was the last line."""
        match frame:
            case {"gap": {"missed": int(missed)}}:
                self.missed += missed
            case {"log": {"lines": list(lines)}}:
                for line in lines:
                    if not line["text"].isdecimal():
                        self.holes += 1
                        continue
                    number = int(line["text"])
                    self.skipped += number - self.last - 1
                    self.last = number
                self.lines += len(lines)
            case _:
                pass
        return self.last == LINES


@dataclass
class Memory:
    """The most RSS that each process came to, and what it had before. Bytes, by name and pid."""

    before: dict[str, int] = field(default_factory=dict[str, int])
    most: dict[str, int] = field(default_factory=dict[str, int])

    def look(self, root: int) -> None:
        for each in processes.usage(root):
            name = f"{each.name} {each.pid}"
            self.before.setdefault(name, each.rss)
            self.most[name] = max(self.most.get(name, 0), each.rss)

    @property
    def growth(self) -> int:
        """Of all together, at the worst."""
        return sum(most - self.before[name] for name, most in self.most.items())

    def details(self) -> dict[str, str]:
        return {name: f"{self.before[name] / MB:.0f} → {most / MB:.0f} MB" for name, most in self.most.items()}


@asynccontextmanager
async def watched(root: int) -> AsyncGenerator[Memory]:
    memory = Memory()
    memory.look(root)

    async def watch() -> None:
        while True:
            await asyncio.sleep(EVERY)
            memory.look(root)

    watching = asyncio.create_task(watch())
    try:
        yield memory
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def measure(stage: Stage, runs: int) -> list[Row]:
    growths: list[float] = []
    found: list[dict[str, object]] = []
    with GitHost(stage.fresh("git")) as host:
        async with platform(stage, stage.data("logs")) as ours:
            source = repository(stage.fresh("flood"), flooding(LINES))
            await ours.do("/tools", {"git_url": host.publish(source), "name": NAME, "start": True})
            async with _theirs(stage) as theirs:
                mine, plain = await in_turn(runs, lambda: _ours(ours, growths, found), theirs.flood)
            await ours.uninstall(NAME)
    against = f"`docker logs -f` of a container that prints the same {LINES} lines, to a file"
    return [
        Row("log lines to a WebSocket", "lines/s", mine, plain, None, against, {"runs": found}),
        Row("log flood, memory", "MB more", Sample.of(growths[1:]), details={"theirs missing": theirs.missing}),
    ]


async def _ours(ours: Platform, growths: list[float], found: list[dict[str, object]]) -> float:
    received = Received()
    shown = (await ours.client.get(f"/api/v1/tools/{NAME}")).json()
    asked = {"Authorization": ours.client.headers["Authorization"]}
    address = f"ws://127.0.0.1:{ours.port}/api/v1/live?topic=logs:{NAME}"
    async with (
        connect(address, additional_headers=asked, proxy=None, max_size=None) as live,
        watched(ours.process.pid) as memory,
        asyncio.timeout(WITHIN),
    ):
        begun = time.perf_counter()
        (ours.data / "tools" / shown["id"] / "data" / "data" / "go").touch()
        while not received.take(json.loads(await live.recv())):
            continue
        seconds = time.perf_counter() - begun
    growths.append(memory.growth / MB)
    found.append(
        {
            "seconds": round(seconds, 2),
            "received": received.lines,
            "told missing": received.missed,
            "missing untold": received.unexplained,
            "holes of unknown size told": received.holes,
            "memory": memory.details(),
        }
    )
    return LINES / seconds


@dataclass(frozen=True)
class _Theirs:
    """A container of the same image and log driver, followed by Docker's own client into a file."""

    folder: Path
    container: str
    missing: list[int] = field(default_factory=list[int])

    async def flood(self) -> float:
        out = self.folder / "lines"
        with out.open("wb") as file:
            argv = [shutil.which("docker") or "docker", "logs", "--follow", "--tail", "0", self.container]
            process = await asyncio.create_subprocess_exec(*dying_with_us(argv), stdout=file)
        try:
            await asyncio.sleep(0.5)
            begun = time.perf_counter()
            (self.folder / "go").touch()
            last = f"\n{LINES}\n".encode()
            async with asyncio.timeout(WITHIN):
                while _tail(out, len(last)) != last:  # noqa: ASYNC110  a file tells nobody that it grew
                    await asyncio.sleep(0.01)
            seconds = time.perf_counter() - begun
            with out.open("rb") as file:
                self.missing.append(LINES - sum(1 for _ in file))
            return LINES / seconds
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def _tail(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read()


@asynccontextmanager
async def _theirs(stage: Stage) -> AsyncGenerator[_Theirs]:
    folder = stage.fresh("theirs")
    rotation = ["--log-driver", "json-file", "--log-opt", "max-size=40m", "--log-opt", "max-file=5"]
    options = ["--network", "none", "--label", stage.label, "-v", f"{folder}:/data", *rotation]
    container = await engine.run("docker", "run", "-d", *options, BUSYBOX, "sh", "-c", flooding(LINES))
    try:
        yield _Theirs(folder, container)
    finally:
        await engine.run("docker", "rm", "-f", "-v", container)
