"""Runs tools that are one container each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from libs.contracts.tools import Tool
from services.orchestrator.domain.builds import already_there
from services.orchestrator.domain.plan import build_spec, container_spec
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
        await self.containers.prepare(container_spec(self.instance, tool))

    async def start(self, tool: Tool, alive: Callable[[], bool] = always, *, wait: bool = True) -> bool:
        spec = container_spec(self.instance, tool)
        placed = await self.containers.start(spec)
        if wait:
            await self.containers.ready(spec, placed)
        return placed.started
