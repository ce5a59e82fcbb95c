"""Runs Docker Compose itself, as a child process that knows nothing of the platform's environment."""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from libs.runtime import metrics
from services.orchestrator.adapters.batches import in_batches
from services.orchestrator.adapters.build_guard import only_own_images
from services.orchestrator.adapters.engine import Engine
from services.orchestrator.adapters.plugins import SEARCH_PATH, find_plugin
from services.orchestrator.adapters.scratch import scratch_folder
from services.orchestrator.domain.builds import BuildLog, build_environment, readable
from services.orchestrator.domain.stacks import commands
from services.orchestrator.ports import Children, Slot, always, at_once

Log = Callable[[list[str]], Awaitable[None]]

LINES_KEPT = 400


async def _silence(_: list[str]) -> None:
    return None


@dataclass(frozen=True)
class Project:
    """A Compose project: `file` is read as if it lay in `folder`."""

    name: str
    folder: Path
    file: Path


@dataclass(frozen=True)
class Compose:
    """`home` is a folder for the client's own state; it is made."""

    engine: Engine
    children: Children
    home: Path
    slot: Slot = at_once

    async def config(
        self, project: Project, repository: Path, variables: Mapping[str, str], log: Log, alive: Callable[[], bool]
    ) -> dict[str, Any]:
        """What Compose makes of the file: merged, interpolated, in one form.

        Raises `Failure`: compose_invalid where the file is at fault, else disk_full, compose_killed, compose_failed.

        The process has no environment at all, so nothing of the platform's can be named in the file.
        """
        with scratch_folder(self._home()) as scratch:
            environment, output = scratch / "environment", scratch / "config.json"
            await asyncio.to_thread(_write_variables, project.folder / ".env", variables, environment)
            argv = commands.config_argv(self._base(project), environment, output)
            code, lines = await self._run(argv, project.folder, _silence, alive, environment={})
            if code != 0:
                raise commands.config_failure(code, lines, repository, environment)
            await log([f"Variable {name} is not set: it is empty." for name in commands.unset_variables(lines)])
            return json.loads(await asyncio.to_thread(output.read_bytes))

    async def build(
        self, project: Project, repository: str, services: Sequence[str], log: Log, alive: Callable[[], bool]
    ) -> None:
        """Builds the images of these services; raises BuildFailed with the failing step.

        `repository` is where the tool's own images are: of all that MACHETE built, only those may be read.
        """
        story = BuildLog()

        async def told(lines: list[str]) -> None:
            story.read(lines)
            await log(lines)

        argv = commands.build_argv(self._base(project), services)
        async with self.slot(log):
            with metrics.engine_call("compose build"), only_own_images(self._home(), repository) as guard:
                code, lines = await self._run(argv, project.folder, told, alive, {**self._environment(), **guard})
                if code != 0:
                    await self.engine.must_answer()
                    raise commands.build_failure(code, lines, story)

    async def pull(self, project: Project, services: Sequence[str], log: Log, alive: Callable[[], bool]) -> None:
        argv = commands.pull_argv(self._base(project), services)
        with metrics.engine_call("compose pull"):
            code, lines = await self._run(argv, project.folder, log, alive)
            if code != 0:
                await self.engine.must_answer()
                raise commands.pull_failure(code, lines)

    async def create(self, project: Project, alive: Callable[[], bool] = always) -> None:
        """Networks, volumes and containers, none of them started."""
        with metrics.engine_call("compose create"):
            await self._engine_call("made ready", commands.create_argv(self._base(project)), project, alive)

    async def up(self, project: Project, alive: Callable[[], bool] = always) -> None:
        """Everything started, in the order of what waits for what; not all of it need be ready yet."""
        with metrics.engine_call("compose up"):
            await self._engine_call("started", commands.up_argv(self._base(project)), project, alive)

    async def _engine_call(self, what: str, argv: Sequence[str], project: Project, alive: Callable[[], bool]) -> None:
        code, lines = await self._run(argv, project.folder, _silence, alive)
        if code != 0:
            await self.engine.must_answer()
            raise commands.run_failure(what, code, lines)

    async def _run(
        self,
        argv: Sequence[str],
        folder: Path,
        log: Log,
        alive: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> tuple[int, list[str]]:
        """The exit code and the last lines of what was said."""
        if environment is None:
            environment = self._environment()
        kept: deque[str] = deque(maxlen=LINES_KEPT)
        async with self.children.run(argv, env=environment, cwd=folder, alive=alive) as client:
            async with aclosing(in_batches(client.lines())) as batches:
                async for lines in batches:
                    clean = [readable(line) for line in lines]
                    kept.extend(clean)
                    await log(clean)
            return await client.wait(), list(kept)

    def _environment(self) -> dict[str, str]:
        reach = build_environment(self.engine.client_environment, str(self._home()), SEARCH_PATH)
        return {**reach, "BUILDX_BUILDER": "default"}

    def _base(self, project: Project) -> list[str]:
        return commands.base_argv(find_plugin("compose"), project.name, project.folder, project.file)

    def _home(self) -> Path:
        self.home.mkdir(parents=True, exist_ok=True)
        return self.home


def _write_variables(own: Path, variables: Mapping[str, str], target: Path) -> None:
    text = own.read_text(errors="replace") if own.is_file() else ""
    target.write_text(commands.interpolation(text, variables))
