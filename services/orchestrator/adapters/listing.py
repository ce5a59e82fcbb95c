"""The containers that MACHETE made, as the engine lists them, and not those that only carry their labels."""

from collections.abc import Iterable, Mapping
from typing import Any

from services.orchestrator.adapters.engine import Engine
from services.orchestrator.adapters.inspection import inspect_image
from services.orchestrator.domain import names
from services.orchestrator.domain.failures import EngineError

Listed = Mapping[str, Any]

# By its id, whether an image was made of a container: an image never changes, and asking costs a call to the engine.
_committed: dict[str, bool] = {}
# Ids of containers that stood beside the one of ours whose labels they have: that is nobody's renaming, and stays so
# when ours is gone.
_copies: dict[str, None] = {}
_MOST = 1000

UP = ("running", "restarting", "paused")


async def list_containers(
    engine: Engine, instance: str, tool: str | None = None, status: str | None = None, *, renamed: bool = True
) -> list[Listed]:
    """Of one tool or of all; those in this state only, if one is given; with `renamed` whatever they are called now."""
    listed = await _listed(engine, names.containers_filter(instance, tool))
    ours = await made_by_us(engine, listed) if renamed else _by_name(listed)
    return [item for item in listed if item["Id"] in ours and status in (None, item["State"])]


async def made_by_us(engine: Engine, listed: Iterable[Listed]) -> frozenset[str]:
    """The ids of those that we made, whatever somebody called them since. What cannot be told is taken for somebody's.

    To be asked of all containers of a tool at once, stopped ones too: of two that say they are the same one, that
    which has the name is. The engine is asked where a name is none that we give, and once for each image.
    """
    listed = list(listed)
    ours = _by_name(listed)
    whole = [item for item in listed if names.LABEL_SERVICE in (item["Labels"] or {})]
    there = {name.removeprefix("/") for item in whole if item["Id"] in ours for name in item["Names"] or ()}
    for item in whole:
        if item["Id"] not in ours and names.own_name(item["Labels"] or {}) in there:
            _note_copy(item["Id"])
    return ours.union([item["Id"] for item in listed if item["Id"] not in ours and await _is_renamed(engine, item)])


def _by_name(listed: Iterable[Listed]) -> frozenset[str]:
    return frozenset(each["Id"] for each in listed if names.has_its_name(each["Names"] or (), each["Labels"] or {}))


def _note_copy(container: str) -> None:
    _copies[container] = None
    if len(_copies) > _MOST:
        del _copies[next(iter(_copies))]


async def _is_renamed(engine: Engine, item: Listed) -> bool:
    labels = item["Labels"] or {}
    one_off = labels.get(names.LABEL_ONE_OFF) == "True"  # as of `docker compose run`
    if names.LABEL_SERVICE not in labels or one_off or item["Id"] in _copies:
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
    listed = await _listed(engine, names.project_filter(instance, tool))
    ours = await made_by_us(engine, listed)
    for item in listed:
        if item["Id"] not in ours:
            name = item["Names"][0].removeprefix("/")
            message = (
                f"The container {name} carries the labels of this stack, and Compose would take it for the stack's "
                f"own: remove it, or run it with --label {names.LABEL_PROJECT}=."
            )
            raise EngineError("name_taken", message, status=409)


async def _listed(engine: Engine, filters: Mapping[str, Any]) -> list[Listed]:
    return await engine.call("GET", "/containers/json", {"all": True, "filters": filters})
