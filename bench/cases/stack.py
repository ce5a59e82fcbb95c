"""A stack of four services, against Compose: started when it is built, and installed from a commit nobody has seen.

Both sides wait until every service is healthy by its own health check; ours asks the page too.
"""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import engine
from bench.children import ROOT
from bench.figures import Aim, Row
from bench.platform import Platform, platform
from bench.stage import Stage
from bench.turns import in_turn
from deploy.githost import GitHost, git_environment
from deploy.setup.images import build_args

EXAMPLE = ROOT / "examples" / "log-digest"
SERVICES = ("web", "worker", "db", "cache")
NAME = "bench-stack"
CHANGED = Path("app", "web.py")


class Project:
    """The same stack under Compose alone, with the limits and build arguments that ours has."""

    def __init__(self, stage: Stage, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name.replace("_", "0")  # images are named by it, and take no _ beside a -
        self.more = stage.fresh(f"{name}-more") / "more.json"
        self.more.write_text(json.dumps(_more(stage.label)))

    async def run(self, *arguments: str) -> None:
        files = ("--file", str(self.folder / "compose.yaml"), "--file", str(self.more))
        argv = ("docker", "compose", "--project-name", self.name, "--project-directory", str(self.folder))
        await engine.run(*argv, *files, *arguments)

    async def down(self) -> None:
        await self.run("down", "--volumes", "--rmi", "local", "--timeout", "1")


def _more(label: str) -> Mapping[str, Any]:
    key, _, value = label.partition("=")
    labels = {key: value}
    return {
        "services": {
            name: {
                "build": {"args": build_args(), "labels": labels},
                "labels": labels,
                "mem_limit": "1g",
                "memswap_limit": "1g",
                "pids_limit": 512,
            }
            for name in SERVICES
        },
        "networks": {"default": {"labels": labels}},
        "volumes": {name: {"labels": labels} for name in ("database", "queue")},
    }


async def start(stage: Stage, runs: int) -> list[Row]:
    theirs_project = Project(stage, EXAMPLE, f"{stage.name}-start")
    await theirs_project.run("up", "--build", "--detach", "--wait")
    await theirs_project.run("stop")
    try:
        with GitHost(stage.fresh("git")) as host:
            async with platform(stage, stage.data("stack-start")) as ours:
                await ours.do("/tools", {"git_url": host.publish(EXAMPLE), "name": NAME, "start": True})
                await ours.do(f"/tools/{NAME}/stop")
                mine, theirs = await in_turn(runs, lambda: _start(ours), lambda: _up(theirs_project))
                await ours.uninstall(NAME)
    finally:
        await theirs_project.down()
    against = "`docker compose up -d --wait` of the same stack, built, under the same limits"
    return [Row("stack start", "ms", mine, theirs, Aim(1.15), against)]


async def _start(ours: Platform) -> float:
    begun = time.monotonic()
    await ours.do(f"/tools/{NAME}/start")
    took = time.monotonic() - begun
    await ours.do(f"/tools/{NAME}/stop")
    return 1000 * took


async def _up(project: Project) -> float:
    begun = time.monotonic()
    await project.run("up", "--detach", "--wait")
    took = time.monotonic() - begun
    await project.run("stop")
    return 1000 * took


async def install(stage: Stage, runs: int) -> list[Row]:
    """The layers up to the changed file are cached for both; what comes after is built by both."""
    with GitHost(stage.fresh("git")) as host:
        source, numbers = stage.fresh("stack"), itertools.count(1)
        shutil.copytree(EXAMPLE, source, dirs_exist_ok=True)
        written = (source / CHANGED).read_text()

        def commit() -> tuple[str, int]:
            number = next(numbers)
            (source / CHANGED).write_text(f"{written}\n# {host.address} {number}\n")
            return host.publish(source, NAME), number

        async with platform(stage, stage.data("stack-install")) as ours:

            async def install() -> float:
                url, number = commit()
                begun = time.monotonic()
                await ours.do("/tools", {"git_url": url, "name": f"{NAME}-{number}", "start": True})
                took = time.monotonic() - begun
                await ours.uninstall(f"{NAME}-{number}")
                return 1000 * took

            async def clone_and_up() -> float:
                url, number = commit()
                folder = stage.fresh("stack-clone")
                project = Project(stage, folder, f"{stage.name}-{number}")
                begun = time.monotonic()
                await engine.run("git", "clone", "--quiet", url, str(folder), env=git_environment())
                await project.run("up", "--build", "--detach", "--wait")
                took = time.monotonic() - begun
                await project.down()
                return 1000 * took

            mine, theirs = await in_turn(runs, install, clone_and_up)
    against = "`git clone` and `docker compose up -d --build --wait` of an equal commit, under the same limits"
    return [Row("stack install", "ms", mine, theirs, Aim(1.15), against)]
