"""The containers that MACHETE made, as the engine lists them, and not those that only carry their labels."""

from collections.abc import Mapping
from typing import Any

from services.orchestrator.adapters.engine import Engine
from services.orchestrator.domain import names
from services.orchestrator.domain.failures import EngineError

Listed = Mapping[str, Any]


async def list_containers(
    engine: Engine, instance: str, tool: str | None = None, status: str | None = None, *, all: bool = True
) -> list[Listed]:
    """Of one tool or of all; those that do not run only with `all`."""
    filters = names.containers_filter(instance, tool) | ({"status": [status]} if status else {})
    listed: list[Listed] = await engine.call("GET", "/containers/json", {"all": all, "filters": filters})
    return [item for item in listed if names.made_by_us(item["Names"] or (), item["Labels"])]


async def refuse_strangers(engine: Engine, instance: str, tool: str) -> None:
    """Raises where Compose would take somebody's container for one of the stack, and might remove it.

    It goes by labels alone, which `docker commit` hands on to an image and that to its containers.
    """
    query = {"all": True, "filters": names.project_filter(instance, tool)}
    for item in await engine.call("GET", "/containers/json", query):
        if not names.made_by_us(item["Names"] or (), item["Labels"]):
            name = item["Names"][0].removeprefix("/")
            message = (
                f"The container {name} carries the labels of this stack, and Compose would take it for the stack's "
                f"own: remove it, or run it with --label {names.LABEL_PROJECT}=."
            )
            raise EngineError("name_taken", message, status=409)
