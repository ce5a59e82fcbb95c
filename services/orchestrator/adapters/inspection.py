"""What the engine knows of one container or one image; None of what is not there, or no longer."""

from collections.abc import Collection, Mapping
from typing import Any

from services.orchestrator.adapters.engine import Engine, path_of
from services.orchestrator.domain.failures import EngineError

Inspected = Mapping[str, Any]


async def inspect_container(engine: Engine, container: str) -> Inspected | None:
    """`container` is an id or a name."""
    return await _found(engine, path_of("containers", container, "json"), {404})


async def inspect_image(engine: Engine, image: str) -> Inspected | None:
    """`image` is a reference or an id. The engine answers 400 for what no image can be called."""
    return await _found(engine, path_of("images", *image.split("/"), "json"), {400, 404})


async def _found(engine: Engine, path: str, absent: Collection[int]) -> Inspected | None:
    try:
        return await engine.call("GET", path)
    except EngineError as refusal:
        if refusal.status in absent:
            return None
        raise
