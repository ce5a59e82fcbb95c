"""Starting a tool that is built: from the POST to the first answer of its port, against `docker run`."""

from __future__ import annotations

from bench import engine
from bench.figures import Aim, Row
from bench.platform import platform
from bench.probe import seconds_until_answer
from bench.stage import ROOT, Stage, free_port
from bench.turns import in_turn
from deploy.githost import GitHost

EXAMPLE = ROOT / "examples" / "hello-web"
HEALTH = "/health"
INSIDE = 8080
NAME = "bench-start"


async def measure(stage: Stage, runs: int) -> list[Row]:
    with GitHost(stage.fresh("git")) as host:
        async with platform(stage, stage.data("start")) as ours:
            await ours.do("/tools", {"git_url": host.publish(EXAMPLE), "name": NAME, "start": True})
            port = await ours.port_of(NAME)
            await ours.do(f"/tools/{NAME}/stop")
            image = _image_of(port)
            there = free_port()

            async def start() -> float:
                accepted: list[dict[str, object]] = []

                async def begin() -> None:
                    accepted.append(await ours.post(f"/tools/{NAME}/start"))

                took = await seconds_until_answer(begin, port, HEALTH)
                await ours.ended(accepted[0])
                await ours.do(f"/tools/{NAME}/stop")
                return 1000 * took

            async def run() -> float:
                argv = ["docker", "run", "-d", "--label", stage.label, "-p", f"127.0.0.1:{there}:{INSIDE}", image]
                took = await seconds_until_answer(lambda: engine.run(*argv), there, HEALTH)
                engine.docker("rm", "-f", "-v", *engine.docker("ps", "-aq", "--filter", f"label={stage.label}").split())
                return 1000 * took

            mine, theirs = await in_turn(runs, start, run)
            await ours.uninstall(NAME)
    against = "`docker run -d -p` of the same image, to the first answer of its port"
    return [Row("start", "ms", mine, theirs, Aim(1.0), against)]


def _image_of(port: int) -> str:
    """The image of the container that publishes this port, running or not."""
    found = engine.docker("ps", "-a", "--filter", f"publish={port}", "--format", "{{.Image}}").split()
    if len(found) != 1:
        raise engine.CommandFailed(f"one container should publish port {port}; these images' do: {found}")
    return found[0]
