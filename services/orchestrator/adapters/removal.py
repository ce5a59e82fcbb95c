"""Takes away what is a tool's own on the engine, whatever state it is in, and nothing else."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from libs.runtime.children import OwnerGone
from services.orchestrator.adapters.engine import Engine, path_of
from services.orchestrator.adapters.listing import list_containers
from services.orchestrator.domain import names
from services.orchestrator.domain.failures import EngineError
from services.orchestrator.domain.observations import is_cut_off
from services.orchestrator.domain.stacks.resolving import LONGEST_GRACE
from services.orchestrator.ports import Guard, Removed

GONE_WITHIN = 10.0  # seconds for a removal that is already going on


async def remove_tool(
    engine: Engine, instance: str, tool: str, images: bool, data: bool, renamed: bool, guard: Guard
) -> Removed:
    """Safe to repeat. What somebody else's container uses stays, and is named in `left`."""
    await guard()
    owned = {"filters": names.owned_filter(instance, tool)}
    containers = await remove_containers(engine, instance, tool, renamed)
    networks = await engine.call("GET", "/networks", owned)
    found = [volume["Name"] for volume in (await engine.call("GET", "/volumes", owned))["Volumes"] or []]
    volumes, kept = (found, ()) if data else ((), tuple(sorted(found)))
    tags = await _tags(engine, instance, tool) if images else []
    removals = (
        [(network["Name"], path_of("networks", network["Id"])) for network in networks],
        [(volume, path_of("volumes", volume)) for volume in volumes],
        [(tag, path_of("images", *tag.split("/"))) for tag in tags],
    )
    parts: list[list[tuple[str, bool]]] = []
    for part in removals:
        await guard()
        parts.append(await asyncio.gather(*(_delete(engine, name, path) for name, path in part)))
    gone = [tuple(name for name, left in part if not left) for part in parts]
    left = tuple(name for part in parts for name, stays in part if stays)
    return Removed(containers, *gone, left=left, kept=kept)


async def owners(engine: Engine, instance: str) -> set[str]:
    """The tools whose networks and images are here."""
    ours = {"filters": {"label": [f"{names.LABEL_INSTANCE}={instance}", names.LABEL_TOOL]}}
    networks, images = await asyncio.gather(
        engine.call("GET", "/networks", ours), engine.call("GET", "/images/json", ours)
    )
    found = {network["Labels"][names.LABEL_TOOL] for network in networks}
    for image in images:
        tool = image["Labels"][names.LABEL_TOOL]
        if any(tag.startswith(names.image_repository(instance, tool) + ":") for tag in image.get("RepoTags") or ()):
            found.add(tool)
    return found


async def remove_containers(engine: Engine, instance: str, tool: str, renamed: bool) -> tuple[str, ...]:
    """Their names. Returns when they are gone, also those that somebody else is removing."""
    removed: list[str] = []
    async with asyncio.timeout(GONE_WITHIN + 60):
        while found := await list_containers(engine, instance, tool, renamed=renamed):
            removed += [name.removeprefix("/") for item in found for name in (item["Names"] or ())[:1]]
            await asyncio.gather(*(remove_container(engine, item["Id"]) for item in found))
            if any(item["State"] == "removing" for item in found):
                await asyncio.sleep(0.1)
    return tuple(dict.fromkeys(removed))


async def remove_cut_off(engine: Engine, instance: str, tool: str, alive: Callable[[], bool]) -> None:
    """Those of a stack that are out of a network they were made in, and what shares theirs.

    Compose would leave them as they are: made again, they are in it. Raises OwnerGone where `alive()` is false, and
    removes nothing more.
    """
    listed = await list_containers(engine, instance, tool)
    out = {item["Id"] for item in listed if is_cut_off(item, item["Labels"])}
    sharing = {f"container:{each}" for each in out}
    found = [each["Id"] for each in listed if each["Id"] in out or each["HostConfig"]["NetworkMode"] in sharing]
    await asyncio.gather(*(_stop_and_remove(engine, each, alive) for each in found))


async def _stop_and_remove(engine: Engine, container: str, alive: Callable[[], bool]) -> None:
    """It has as long to end as it says itself, in which the tool may become another's."""
    _check(alive, container)
    try:
        await engine.call("POST", path_of("containers", container, "stop"), patience=LONGEST_GRACE + 60)
    except EngineError as refusal:
        if refusal.status != 404:
            raise
    _check(alive, container)
    await remove_container(engine, container)


def _check(alive: Callable[[], bool], container: str) -> None:
    if not alive():
        raise OwnerGone(f"{container[:12]} was not removed: what it is for now belongs to somebody else")


async def remove_container(engine: Engine, container: str) -> None:
    """With its nameless volumes. A removal that is going on counts: wait for its end by listing again."""
    try:
        await engine.call("DELETE", path_of("containers", container), {"force": True, "v": True})
    except EngineError as refusal:
        if refusal.status != 404 and not (refusal.status == 409 and "already in progress" in refusal.message):
            raise


async def _delete(engine: Engine, name: str, path: str) -> tuple[str, bool]:
    """The name, and whether it stays because it is in use (403 is what networks answer)."""
    try:
        await engine.call("DELETE", path)
    except EngineError as refusal:
        if refusal.status not in (403, 404, 409):
            raise
        return name, refusal.status != 404
    return name, False


async def _tags(engine: Engine, instance: str, tool: str) -> list[str]:
    """Our tags on the tool's images, and what a build that was repeated left without any tag.

    An image that somebody made `FROM` ours, or of a container, carries our labels too, but not our tag.
    """
    ours = names.image_repository(instance, tool) + ":"
    found: list[Mapping[str, Any]] = await engine.call(
        "GET", "/images/json", {"filters": names.owned_filter(instance, tool)}
    )
    tags = [tag for image in found for tag in image.get("RepoTags") or () if tag.startswith(ours)]
    untagged = [image for image in found if not _real_tags(image) and not _real_tags(image, "RepoDigests")]
    return [*tags, *(image["Id"] for image in untagged if not _is_committed(image))]


def _is_committed(image: Mapping[str, Any]) -> bool:
    """Whether somebody made it of a container: what BuildKit builds has no parent."""
    return bool(image.get("ParentId")) or names.is_committed(image["Labels"] or {})


def _real_tags(image: Mapping[str, Any], key: str = "RepoTags") -> list[str]:
    return [tag for tag in image.get(key) or () if not tag.startswith("<none>")]
