"""Builds images through the BuildKit client, since the engine's own HTTP interface has no BuildKit."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from libs.contracts.problems import Failure
from services.orchestrator.adapters.batches import in_batches
from services.orchestrator.adapters.build_guard import check_dockerfile, only_own_images
from services.orchestrator.adapters.engine import Engine
from services.orchestrator.adapters.inspection import inspect_image
from services.orchestrator.adapters.plugins import SEARCH_PATH, find_plugin
from services.orchestrator.domain import names
from services.orchestrator.domain.builds import BuildLog, build_argv, build_environment, readable
from services.orchestrator.domain.failures import EngineError
from services.orchestrator.domain.specs import BuildSpec, BuiltImage
from services.orchestrator.ports import Children, Slot, always, at_once

Log = Callable[[list[str]], Awaitable[None]]


@dataclass(frozen=True)
class BuildxBuilder:
    """`home` is a folder for the client's own state; it is made. `buildx` is how the client is called.

    What is built already waits for no slot.
    """

    engine: Engine
    children: Children
    home: Path
    buildx: tuple[str, ...] | None = None
    slot: Slot = at_once

    async def build(self, spec: BuildSpec, log: Log, alive: Callable[[], bool] = always) -> BuiltImage:
        if built := await self._built(spec):
            return BuiltImage(built.reference, built.id, built.exposed, reused=True)
        context = await asyncio.to_thread(context_of, spec)
        self.home.mkdir(parents=True, exist_ok=True)
        story = BuildLog()
        async with self.slot(log):
            code = await self._run(spec, context, story, log, alive)
        if code != 0:
            await self.engine.must_answer()
            raise story.failure(code)
        built = await self._built(spec)
        if built is None:
            raise EngineError("image_missing", f"The build ended well, but there is no image {spec.image}.")
        return built

    async def _run(self, spec: BuildSpec, context: Path, story: BuildLog, log: Log, alive: Callable[[], bool]) -> int:
        argv = build_argv(spec, self.buildx or find_plugin("buildx"))
        environment = build_environment(self.engine.client_environment, str(self.home), SEARCH_PATH)
        with only_own_images(self.home, names.image_repository(spec.instance, spec.tool)) as guard:
            async with self.children.run(argv, env={**environment, **guard}, cwd=context, alive=alive) as client:
                async with aclosing(in_batches(client.lines())) as batches:
                    async for lines in batches:
                        clean = [readable(line) for line in lines]
                        story.read(clean)
                        await log(clean)
                return await client.wait()

    async def _built(self, spec: BuildSpec) -> BuiltImage | None:
        """The image, if it is there and is this release's: a tag alone could be anybody's."""
        answer = await inspect_image(self.engine, spec.image)
        if answer is None:
            return None
        labels = answer["Config"].get("Labels") or {}
        if any(labels.get(name) != value for name, value in spec.labels.items()):
            return None
        exposed = sorted(int(port.split("/")[0]) for port in answer["Config"].get("ExposedPorts") or {})
        return BuiltImage(spec.image, answer["Id"], tuple(exposed))


def context_of(spec: BuildSpec) -> Path:
    """The tool's folder. Neither it nor its Dockerfile may lie outside the source, through links or not."""
    source = spec.source.resolve()
    context = (source / (spec.subdir or ".")).resolve()
    dockerfile = (context / spec.dockerfile).resolve()
    if not context.is_relative_to(source) or not dockerfile.is_relative_to(source):
        raise Failure("outside_repository", "The tool's folder or its Dockerfile lies outside the repository.")
    if not dockerfile.is_file():
        where = f"{spec.subdir}/{spec.dockerfile}" if spec.subdir else spec.dockerfile
        raise Failure("no_dockerfile", f"The repository has no {where}: add it, or name another in the manifest.")
    check_dockerfile(dockerfile, "The tool's Dockerfile")
    return context
