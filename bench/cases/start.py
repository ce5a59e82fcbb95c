"""Starting a tool that is built: from the POST to the first answer of its port, against `docker run`.

The port is asked from the moment the engine says that the container has started, alike on both sides. Asked before,
the engine's proxy knocks at an address that is not there yet, and the kernel waits a second to ask for it again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bench import engine
from bench.children import ROOT
from bench.figures import Aim, Row
from bench.platform import Platform, platform
from bench.probe import seconds_until_answer
from bench.stage import Stage, free_port
from bench.turns import in_turn
from deploy.githost import GitHost

EXAMPLE = ROOT / "examples" / "hello-web"
HEALTH = "/health"
INSIDE = 8080
NAME = "bench-start"

Started = Callable[[], Awaitable[None]]


async def measure(stage: Stage, runs: int) -> list[Row]:
    with GitHost(stage.fresh("git")) as host:
        async with platform(stage, stage.data("start")) as ours:
            await ours.do("/tools", {"git_url": host.publish(EXAMPLE), "name": NAME, "start": True})
            port = await ours.port_of(NAME)
            asked = _asked(port)
            await ours.do(f"/tools/{NAME}/stop")
            async with engine.starts(asked.image) as started:
                mine, theirs = await in_turn(
                    runs, lambda: _start(ours, port, started), lambda: _run(stage, asked, started)
                )
            await ours.uninstall(NAME)
    against = "`docker run -d -p` of the same image under the same limits, to the first answer of its port"
    return [Row("start", "ms", mine, theirs, Aim(1.0), against)]


async def _start(ours: Platform, port: int, started: Started) -> float:
    accepted: list[dict[str, Any]] = []

    async def begin() -> None:
        accepted.append(await ours.post(f"/tools/{NAME}/start"))

    took = await seconds_until_answer(begin, port, HEALTH, after=started)
    await ours.ended(accepted[0])
    await ours.do(f"/tools/{NAME}/stop")
    return 1000 * took


async def _run(stage: Stage, asked: Asked, started: Started) -> float:
    port = free_port()
    options = ["--label", stage.label, "-p", f"127.0.0.1:{port}:{INSIDE}", *asked.limits]
    argv = ["docker", "run", "-d", *options, asked.image]
    took = await seconds_until_answer(lambda: engine.run(*argv), port, HEALTH, after=started)
    engine.docker("rm", "-f", "-v", *engine.docker("ps", "-aq", "--filter", f"label={stage.label}").split())
    return 1000 * took


@dataclass(frozen=True)
class Asked:
    """What the tool's manifest came to: `docker run` is asked for the same, since a limit slows whatever starts."""

    image: str
    limits: tuple[str, ...]


def _asked(port: int) -> Asked:
    """Of the container that publishes this port, which the engine tells of a running one alone."""
    found = engine.docker("ps", "--filter", f"publish={port}", "--format", "{{.Image}} {{.ID}}").split()
    if len(found) != 2:
        raise engine.CommandFailed(f"one container should publish port {port}; found were {found}")
    image, container = found
    limits = "--memory={{.HostConfig.Memory}} --cpus={{json .HostConfig.NanoCpus}}e-9"
    return Asked(image, tuple(engine.docker("inspect", "--format", limits, container).split()))
