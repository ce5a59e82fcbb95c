"""Runs tools that are one container each, on one engine."""

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.orchestrator.adapters.engine import Engine, path_of
from services.orchestrator.adapters.feed import DockerFeed
from services.orchestrator.adapters.folders import give_to, owner_in
from services.orchestrator.adapters.host_ports import HostPorts
from services.orchestrator.adapters.inspection import inspect_container, inspect_image
from services.orchestrator.adapters.listing import UP, Listed, list_containers
from services.orchestrator.adapters.networks import ensure_network
from services.orchestrator.adapters.readiness import wait_until_ready
from services.orchestrator.adapters.removal import owners, remove_container, remove_tool
from services.orchestrator.adapters.seeding import seed_noting
from services.orchestrator.adapters.unowned import Unowned
from services.orchestrator.domain import names
from services.orchestrator.domain.container_body import create_body, places_of, spec_hash, with_image_volumes
from services.orchestrator.domain.failures import EngineError, is_about_port
from services.orchestrator.domain.observations import (
    Observation,
    ServiceObservation,
    from_inspection,
    from_listing,
    is_cut_off,
    needs_inspection,
)
from services.orchestrator.domain.specs import ContainerSpec
from services.orchestrator.domain.stacks.order import dependencies, waves
from services.orchestrator.domain.stacks.resolving import LONGEST_GRACE
from services.orchestrator.ports import Guard, Placed, Removed, unguarded

HALF_MADE = 10.0  # seconds that another making of the same container may still take

_LOST = ("removing", "dead")


@dataclass(frozen=True)
class DockerContainers:
    """`tools` is the folder with one folder a tool, as the engine's host sees it too.

    `network_pool` is where networks get their addresses when the engine has none left. `choosing` is held while a
    port is chosen.
    """

    engine: Engine
    instance: str
    tools: Path
    network_pool: str = "10.213.0.0/16"
    choosing: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    @property
    def _feed(self) -> DockerFeed:
        return DockerFeed(self.engine, self.instance)

    @property
    def _ports(self) -> HostPorts:
        return HostPorts(self.engine, self.instance)

    async def prepare(self, spec: ContainerSpec) -> Placed:
        found = await self._list(spec.tool)
        if running := next((item for item in found if item["State"] in UP), None):
            return Placed(running["Id"], from_listing(running).host_port, created=False, started=False)
        return await self._place(spec, found)

    async def start(self, spec: ContainerSpec) -> Placed:
        found = await self._list(spec.tool)
        placed = await self._place(spec, found)
        state = next((item["State"] for item in found if item["Id"] == placed.container_id), "created")
        if state in ("running", "restarting"):
            return placed
        try:
            await self._set_going(placed.container_id, "unpause" if state == "paused" else "start")
        except EngineError as refusal:
            if placed.host_port and is_about_port(refusal):
                raise await self._ports.taken(spec.tool, placed.host_port) from refusal
            if not await ensure_network(self.engine, spec, self.network_pool):
                raise
            placed = await self._create(spec, placed.host_port, [placed.container_id])
            await self._set_going(placed.container_id, "start")
        return Placed(placed.container_id, placed.host_port, placed.created, started=True)

    async def ready(self, spec: ContainerSpec, placed: Placed) -> None:
        await wait_until_ready(self.engine, self._feed, spec, placed.container_id, placed.host_port)

    async def stop(self, tool: str, timeout: float = 10.0, guard: Guard = unguarded) -> Observation:
        found = await self._list(tool)
        needs = {item["Id"]: _needed_by(item, found) for item in found}
        for wave in waves(needs):
            await guard()
            await asyncio.gather(*(self._stop(item, timeout) for item in found if item["Id"] in wave))
        return await self.observe(tool)

    async def remove(
        self, tool: str, *, images: bool = True, data: bool = False, renamed: bool = True, guard: Guard = unguarded
    ) -> Removed:
        return await remove_tool(self.engine, self.instance, tool, images, data, renamed, guard)

    async def observe(self, tool: str) -> Observation:
        return await self._observation(tool, await self._list(tool), whole=True)

    async def observe_all(self) -> dict[str, Observation]:
        by_tool: dict[str, list[Listed]] = {}
        for item in await self._list():
            by_tool.setdefault(item["Labels"].get(names.LABEL_TOOL, ""), []).append(item)
        return {tool: await self._observation(tool, items, whole=False) for tool, items in by_tool.items()}

    async def orphans(self, known: Collection[str]) -> dict[str, Observation]:
        return {tool: seen for tool, seen in (await self.observe_all()).items() if tool not in known}

    async def owning(self) -> set[str]:
        containers, others = await asyncio.gather(
            list_containers(self.engine, self.instance, renamed=False), owners(self.engine, self.instance)
        )
        return others.union(item["Labels"].get(names.LABEL_TOOL, "") for item in containers)

    async def _list(self, tool: str | None = None) -> list[Listed]:
        return await list_containers(self.engine, self.instance, tool)

    async def _place(self, spec: ContainerSpec, found: list[Listed]) -> Placed:
        """Find the container of this spec, or make it in the place of all others. It is not started."""
        port = None if spec.port is None else spec.host_port or _port_of(found)
        wanted = spec_hash(create_body(spec, port, self._data(spec.tool)))
        for item in found:
            same = item["Labels"].get(names.LABEL_SPEC) == wanted and not is_cut_off(item, item["Labels"])
            if same and item["State"] not in _LOST:
                await self._give_folders(spec, item["Id"], await self._fill_folders(spec))
                return Placed(item["Id"], port, created=False, started=False)
        for item in found:
            await self._stop(item, 10.0)
        others = [item["Id"] for item in found]
        if spec.port is None or port is not None:
            return await self._create(spec, port, others)
        async with self.choosing:  # a port is held from the moment its container exists
            return await self._create(spec, await self._ports.free(spec.tool), others)

    async def _create(self, spec: ContainerSpec, port: int | None, others: list[str]) -> Placed:
        image = await self._image(spec)
        await ensure_network(self.engine, spec, self.network_pool)
        data = self._data(spec.tool)
        whole = with_image_volumes(spec, image.get("Volumes") or ())
        body = create_body(whole, port, data)
        # An image may carry labels by which its container would pass for one of a stack.
        body["Labels"] |= {label: "" for label in names.OF_STACKS if label in (image.get("Labels") or {})}
        body["Labels"][names.LABEL_SPEC] = spec_hash(create_body(spec, port, data))
        made = await self._fill_folders(spec)
        await asyncio.gather(*(remove_container(self.engine, other) for other in others))
        created = await self._create_named(spec.name, body)
        await self._give_folders(spec, created, made)
        return Placed(created, port, created=True, started=False)

    async def _fill_folders(self, spec: ContainerSpec) -> list[Path]:
        """Those that were made, and are not their user's yet."""
        places, data = places_of(spec.folders), self._data(spec.tool)
        return await asyncio.to_thread(seed_noting, places, spec.source, data, self._unowned(spec.tool))

    async def _give_folders(self, spec: ContainerSpec, container: str, made: list[Path]) -> None:
        if not made:
            return
        written = {self._data(spec.tool) / place.path for place in places_of(spec.folders) if place.owner}
        inspected = await inspect_container(self.engine, container)
        if inspected is None:
            return
        if owner := await owner_in(self.engine, container, inspected["Config"].get("User") or ""):
            await asyncio.to_thread(give_to, written.intersection(made), owner)
        self._unowned(spec.tool).forget()

    async def _create_named(self, name: str, body: dict[str, Any]) -> str:
        """A container of ours that was being made when its maker died makes way; nobody else's does."""
        give_up = time.monotonic() + HALF_MADE
        while True:
            try:
                return (await self.engine.call("POST", "/containers/create", {"name": name}, body))["Id"]
            except EngineError as refusal:
                if refusal.status != 409 or time.monotonic() > give_up:
                    raise
            await self._make_way(name)

    async def _make_way(self, name: str) -> None:
        answer = await inspect_container(self.engine, name)
        if answer is None:
            await asyncio.sleep(0.05)  # its name is there before it is
            return
        labels = answer["Config"]["Labels"] or {}
        if labels.get(names.LABEL_INSTANCE) != self.instance or names.LABEL_SERVICE not in labels:
            message = f"There is a container {name} that MACHETE did not make: rename or remove it."
            raise EngineError("name_taken", message, status=409)
        await remove_container(self.engine, answer["Id"])

    async def _image(self, spec: ContainerSpec) -> Mapping[str, Any]:
        answer = await inspect_image(self.engine, spec.image)
        if answer is None:
            message = f"The engine has no image {spec.image}: build the tool again."
            raise EngineError("image_missing", message, status=404)
        return answer["Config"]

    async def _set_going(self, container: str, how: str) -> None:
        await self.engine.call("POST", path_of("containers", container, how))

    async def _stop(self, item: Listed, timeout: float) -> None:
        """What has already ended, or is gone, is stopped. A stack's services say themselves how long they may take.

        What does not run is asked to stop too: the engine may still be starting it for somebody who has ended,
        and answers when that is over.
        """
        try:
            if item["State"] == "paused":
                await self._set_going(item["Id"], "unpause")
            of_stack = bool(item["Labels"].get(names.LABEL_COMPOSE_SERVICE))
            query = {} if of_stack else {"t": round(timeout)}
            patience = (LONGEST_GRACE if of_stack else timeout) + 60
            await self.engine.call("POST", path_of("containers", item["Id"], "stop"), query, patience=patience)
        except EngineError as refusal:
            if refusal.status != 404:
                raise

    async def _observation(self, tool: str, items: list[Listed], whole: bool) -> Observation:
        seen = await asyncio.gather(*(self._look(item, whole) for item in items))
        services = sorted((service for service in seen if service), key=lambda service: service.name)
        return Observation(tool, tuple(services), datetime.now(UTC))

    async def _look(self, item: Listed, whole: bool) -> ServiceObservation | None:
        """None: it was removed since it was listed."""
        if not whole and not needs_inspection(item):
            return from_listing(item)
        inspected = await inspect_container(self.engine, item["Id"])
        return from_inspection(inspected) if inspected is not None else None

    def _unowned(self, tool: str) -> Unowned:
        return Unowned(self.tools / tool / "unowned.json")

    def _data(self, tool: str) -> Path:
        return self.tools / tool / "data"


def _needed_by(item: Listed, others: list[Listed]) -> frozenset[str]:
    """The containers that it depends on: they are stopped after it."""
    needed = dependencies(item["Labels"].get(names.LABEL_DEPENDS_ON, ""))
    return frozenset(other["Id"] for other in others if other["Labels"].get(names.LABEL_COMPOSE_SERVICE) in needed)


def _port_of(found: list[Listed]) -> int | None:
    """The port that a tool has keeps being its port, though nobody wrote it down elsewhere."""
    return next((port for item in found if (port := from_listing(item).host_port)), None)
