"""Runs tools that are one container each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from libs.contracts.tools import Tool
from services.orchestrator.domain.builds import already_there
from services.orchestrator.domain.plan import build_spec, container_spec
from services.orchestrator.domain.specs import ContainerSpec
from services.orchestrator.ports import Builder, Containers, Workshop, always


@dataclass(frozen=True)
class SingleContainers:
    """Implements `ports.Runner`."""

    instance: str
    containers: Containers
    builder: Builder
    workshop: Workshop
    arguments: Mapping[str, str]

    async def build(
        self, tool: Tool, log: Callable[[list[str]], Awaitable[None]], alive: Callable[[], bool] = always
    ) -> Tool:
        source = await self.workshop.source(tool)
        spec = build_spec(self.instance, tool, source, self.arguments)
        image = await self.builder.build(spec, log, alive=alive)
        if image.reused:
            await log([already_there([image.reference])])
        return tool.model_copy(update={"release": tool.release.model_copy(update={"image": image.reference})})

    async def prepare(self, tool: Tool, alive: Callable[[], bool] = always) -> None:
        await self.containers.prepare(await self._spec(tool))

    async def start(self, tool: Tool, alive: Callable[[], bool] = always, *, wait: bool = True) -> bool:
        spec = await self._spec(tool)
        placed = await self.containers.start(spec)
        if wait:
            await self.containers.ready(spec, placed)
        return placed.started

    async def _spec(self, tool: Tool) -> ContainerSpec:
        """With the source of its release at hand, where there are folders to be filled from it."""
        spec = container_spec(self.instance, tool)
        return replace(spec, source=await self.workshop.source(tool)) if spec.folders else spec
