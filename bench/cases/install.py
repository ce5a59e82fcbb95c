"""Installing a tool, built and ready to start, against `git clone` and `docker build` of the same repository.

Each time a commit that neither side has seen, so that layers are really built: the base is cached for both, what
the Dockerfile copies and runs for neither.
"""

from __future__ import annotations

import itertools
import shutil
import time
from pathlib import Path

from bench import engine
from bench.children import ROOT
from bench.figures import Aim, Row
from bench.platform import platform
from bench.stage import Stage
from bench.turns import in_turn
from deploy.githost import GitHost, git_environment
from deploy.setup.images import build_args

EXAMPLE = ROOT / "examples" / "hello-web"


class Commits:
    """Ever new commits of the example that differ in one line of its server."""

    def __init__(self, host: GitHost, folder: Path) -> None:
        self.host, self.folder, self.count = host, folder, itertools.count(1)
        shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
        self.server = (folder / "server.py").read_text()

    def next(self) -> tuple[str, int]:
        """The repository's address, and the number of the commit that is new at its head."""
        number = next(self.count)
        (self.folder / "server.py").write_text(f"{self.server}\n# {self.host.address} {number}\n")
        return self.host.publish(self.folder, "bench-install"), number


async def measure(stage: Stage, runs: int) -> list[Row]:
    with GitHost(stage.fresh("git")) as host:
        commits = Commits(host, stage.fresh("example"))
        async with platform(stage, stage.data("install")) as ours:

            async def install() -> float:
                url, number = commits.next()
                name = f"bench-{number}"
                start = time.monotonic()
                await ours.do("/tools", {"git_url": url, "name": name, "start": False})
                took = time.monotonic() - start
                await ours.uninstall(name)
                return 1000 * took

            async def clone_and_build() -> float:
                url, number = commits.next()
                folder, image = stage.fresh("clone"), f"{stage.name}:{number}"
                start = time.monotonic()
                await engine.run("git", "clone", "--quiet", url, str(folder), env=git_environment())
                await engine.run(*_build(stage, image, folder))
                took = time.monotonic() - start
                engine.docker("image", "rm", image)
                return 1000 * took

            mine, theirs = await in_turn(runs, install, clone_and_build)
    against = "`git clone` and `docker build` of an equal commit"
    return [Row("install", "ms", mine, theirs, Aim(1.15), against)]


def _build(stage: Stage, image: str, folder: Path) -> list[str]:
    arguments = [word for name, value in build_args().items() for word in ("--build-arg", f"{name}={value}")]
    return ["docker", "build", "--label", stage.label, "--tag", image, *arguments, str(folder)]
