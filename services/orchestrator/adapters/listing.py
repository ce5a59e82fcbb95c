"""The containers that MACHETE made, as the engine lists them, and not those that only carry their labels."""

from collections.abc import Mapping
from typing import Any

from services.orchestrator.adapters.engine import Engine
from services.orchestrator.adapters.inspection import inspect_image
from services.orchestrator.domain import names
from services.orchestrator.domain.failures import EngineError

Listed = Mapping[str, Any]

# By its id, whether an image was made of a container: an image never changes, and asking costs a call to the engine.
_committed: dict[str, bool] = {}
_MOST = 1000


async def list_containers(
    engine: Engine, instance: str, tool: str | None = None, status: str | None = None, *, all: bool = True
) -> list[Listed]:
    """Of one tool or of all; those that do not run only with `all`."""
    filters = names.containers_filter(instance, tool) | ({"status": [status]} if status else {})
    listed: list[Listed] = await engine.call("GET", "/containers/json", {"all": all, "filters": filters})
    return [item for item in listed if await is_ours(engine, item)]


async def is_ours(engine: Engine, item: Listed) -> bool:
    """Whether we made a container, whatever somebody called it since. What cannot be told is taken for somebody's.

    The engine is asked where the name is none that we give, and once for each image.
    """
    labels = item["Labels"] or {}
    if names.has_its_name(item["Names"] or (), labels):
        return True
    if names.LABEL_SERVICE not in labels or labels.get(names.LABEL_ONE_OFF) == "True":  # as of `docker compose run`
        return False
    image = item["ImageID"]
    if image not in _committed:
        inspected = await inspect_image(engine, image)
        if inspected is None:
            return False
        if len(_committed) >= _MOST:
            _committed.clear()
        _committed[image] = names.is_committed((inspected.get("Config") or {}).get("Labels") or {})
    return not _committed[image]


async def refuse_strangers(engine: Engine, instance: str, tool: str) -> None:
    """Raises where Compose would take somebody's container for one of the stack, and might remove it.

    It goes by labels alone, which `docker commit` hands on to an image and that to its containers.
    """
    query = {"all": True, "filters": names.project_filter(instance, tool)}
    for item in await engine.call("GET", "/containers/json", query):
        if not await is_ours(engine, item):
            name = item["Names"][0].removeprefix("/")
            message = (
                f"The container {name} carries the labels of this stack, and Compose would take it for the stack's "
                f"own: remove it, or run it with --label {names.LABEL_PROJECT}=."
            )
            raise EngineError("name_taken", message, status=409)
