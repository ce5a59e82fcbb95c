"""Runs tools that are Compose stacks, on one engine, through Compose itself."""

import asyncio
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from libs.contracts.tools import Tool
from services.orchestrator.adapters.build_guard import check_dockerfiles
from services.orchestrator.adapters.compose import Compose, Log, Project
from services.orchestrator.adapters.engine import Engine, path_of
from services.orchestrator.adapters.folders import give_to, owner_in
from services.orchestrator.adapters.host_ports import HostPorts
from services.orchestrator.adapters.host_routes import ROUTES, refuse_taken
from services.orchestrator.adapters.inspection import inspect_image
from services.orchestrator.adapters.kept import read_kept, write_kept
from services.orchestrator.adapters.listing import UP, list_containers, refuse_strangers
from services.orchestrator.adapters.networks import out_of_addresses
from services.orchestrator.adapters.removal import remove_cut_off
from services.orchestrator.adapters.seeding import seed_noting
from services.orchestrator.adapters.stack_ports import StackPorts, provisional
from services.orchestrator.adapters.stack_watch import StackWatch
from services.orchestrator.adapters.together import all_of, unless
from services.orchestrator.adapters.unowned import Unowned
from services.orchestrator.domain import names
from services.orchestrator.domain.builds import already_there
from services.orchestrator.domain.failures import (
    EngineError,
    is_about_overlap,
    is_about_port,
    is_out_of_addresses,
)
from services.orchestrator.domain.specs import ContainerSpec
from services.orchestrator.domain.stacks import policy, reading
from services.orchestrator.domain.stacks.addresses import with_addresses
from services.orchestrator.domain.stacks.places import Place
from services.orchestrator.domain.stacks.readiness import unstartable_sentence
from services.orchestrator.domain.stacks.resolving import Resolved, of_another_tool, resolve, with_image_volumes
from services.orchestrator.domain.stacks.stack import Config, Stack, part, plain
from services.orchestrator.domain.tool_images import is_of_another_tool
from services.orchestrator.ports import Workshop, always


@dataclass(frozen=True)
class DockerStacks:
    """`tools` is the folder with one folder a tool, as the engine's host sees it too.

    Of a release it keeps `config.json`, what Compose made of the repository's file, and `compose.json`, what is run.
    `choosing` is held while ports are chosen, by whoever chooses on this engine.
    """

    engine: Engine
    instance: str
    tools: Path
    compose: Compose
    workshop: Workshop
    arguments: Mapping[str, str]
    network_pool: str = "10.213.0.0/16"
    choosing: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    @property
    def _ports(self) -> StackPorts:
        return StackPorts(HostPorts(self.engine, self.instance))

    async def build(self, tool: Tool, log: Log, alive: Callable[[], bool] = always) -> Tool:
        """The tool with every image of its stack on the engine; what is there already is not built again."""
        stack = await self._stack(tool)
        _, resolved = await self._built(stack, tool, log, alive)
        front = resolved.front
        about = {"service": front.service, "port": front.target} if front else {}
        manifest = tool.release.manifest.model_copy(update=about)
        release = tool.release.model_copy(update={"services": resolved.services, "manifest": manifest})
        return tool.model_copy(update={"release": release})

    async def _built(self, stack: Stack, tool: Tool, log: Log, alive: Callable[[], bool]) -> tuple[Config, Resolved]:
        """What Compose makes of the repository's file, and what that comes to; all images of it are there then."""
        config = await self._judged(stack, log, alive)
        if self.engine.is_local:
            refuse_taken(part(config, "networks"), await asyncio.to_thread(ROUTES.read_text))
        await self._ports.check_insisted(stack, config)
        resolved = resolve(stack, config, provisional(stack, config))
        project = await self._written(stack, resolved.config, "build.json")
        absent = {service.name for service in resolved.services if not await self._has(service.image)}
        if to_build := [name for name in resolved.built if name in absent]:
            repository = names.image_repository(self.instance, tool.id)
            await self.compose.build(project, repository, to_build, log, alive)
        made_here = {service.image for service in resolved.services if service.name in resolved.built}
        if to_pull := [each.name for each in resolved.services if each.name in absent and each.image not in made_here]:
            await self.compose.pull(project, to_pull, log, alive)
        if not absent:
            await log([already_there(service.image for service in resolved.services)])
        await self._written(stack, config, "config.json")
        return config, resolved

    async def prepare(self, tool: Tool, alive: Callable[[], bool] = always) -> None:
        """Folders filled, ports chosen; networks, volumes and containers made, so that starting is one step."""
        stack = await self._stack(tool)
        if await self._running(tool.id):
            return
        await self._made_ready(stack, tool, alive)

    async def start(self, tool: Tool, alive: Callable[[], bool] = always, *, wait: bool = True) -> bool:
        """A service that fails while others wait for it is told at once, and not when they have waited in vain."""
        stack = await self._stack(tool)
        kept = await self._rechecked(stack)
        if kept is None:
            kept = await self._made_ready(stack, tool, alive)
        project, places = kept
        if made := await asyncio.to_thread(seed_noting, places, stack.source, stack.data, self._unowned(stack)):
            await self._create(stack, project, alive)
            await self._give_to_users(stack, places, made)
        await refuse_strangers(self.engine, self.instance, tool.id)
        await self._unpause(tool.id)
        await remove_cut_off(self.engine, self.instance, tool.id, alive)
        watch = StackWatch(self.engine, self.instance, tool.id)
        before = await watch.runs()
        try:
            await unless(self._up(stack, project, alive), watch.until_failure(before))
        except EngineError as refusal:
            await watch.check(before)  # whose failure it is says more than that another one waited for it in vain
            raise await self._explained(stack, refusal, watch) from refusal
        if wait:
            await self._ready(tool, watch)
        return await watch.runs() != before

    async def _up(self, stack: Stack, project: Project, alive: Callable[[], bool]) -> None:
        """Also where what was prepared has lost its networks, or was cut off before it had them."""
        await refuse_strangers(self.engine, stack.instance, stack.tool)
        try:
            await self.compose.up(project, alive)
        except EngineError as refusal:
            if not is_out_of_addresses(refusal):
                raise
            await self._create(stack, project, alive)
            await self.compose.up(project, alive)

    async def _ready(self, tool: Tool, watch: StackWatch) -> None:
        """Every service runs, healthily where it can tell, and what people open answers."""
        manifest, answered = tool.release.manifest, asyncio.Event()

        async def answer() -> None:
            if manifest.service is not None and manifest.port is not None:
                spec = ContainerSpec(
                    self.instance,
                    tool.id,
                    tool.release.id,
                    image="",
                    port=manifest.port,
                    health_check=manifest.health_check,
                    readiness=manifest.readiness_timeout,
                )
                await watch.front(spec, names.token(manifest.service), tool.port)
            answered.set()

        await all_of(watch.until_ready(manifest.readiness_timeout, answered), answer())

    async def _judged(self, stack: Stack, log: Log, alive: Callable[[], bool]) -> Config:
        """The merged and interpolated configuration, with nothing in it that the policy refuses."""
        file = PurePosixPath(stack.folder, stack.manifest.compose or "")
        await asyncio.to_thread(reading.check_files, _reader(stack.source), file)
        project = Project(stack.project, (stack.source / file).parent, stack.source / file)
        config = await self.compose.config(project, stack.source, stack.manifest.environment, log, alive)
        _refuse(config, stack.source)
        await asyncio.to_thread(check_dockerfiles, config, stack.source)
        return config

    async def _made_ready(
        self, stack: Stack, tool: Tool, alive: Callable[[], bool]
    ) -> tuple[Project, tuple[Place, ...]]:
        """Also from the source alone, where what was kept of the release is lost."""
        config = await self._kept(stack, "config.json")
        if config is None:
            config, _ = await self._built(stack, tool, _silence, alive)
        async with self.choosing:  # a port is held from the moment its container exists
            project, places = await self._settled(stack, tool, config)
            made = await asyncio.to_thread(seed_noting, places, stack.source, stack.data, self._unowned(stack))
            await self._create(stack, project, alive)
        await self._give_to_users(stack, places, made)
        return project, places

    async def _settled(self, stack: Stack, tool: Tool, config: Config) -> tuple[Project, tuple[Place, ...]]:
        before = await self._kept(stack, "compose.json") or {}
        resolved = resolve(stack, config, await self._ports.choose(stack, config, before, tool.port))
        with_image_volumes(stack, resolved.config, await self._declared(resolved, stack.tool))
        places = [[each.origin, each.path, each.owner] for each in resolved.places]
        await self._written(stack, {"places": places}, "places.json")
        return await self._written(stack, resolved.config, "compose.json"), resolved.places

    async def _declared(self, resolved: Resolved, tool: str) -> dict[str, tuple[str, ...]]:
        """The volumes that each service's image declares; no image is another tool's, whatever it is called."""
        images = {service.image for service in resolved.services}
        found = dict(
            zip(images, await asyncio.gather(*(inspect_image(self.engine, each) for each in images)), strict=True)
        )
        for each in resolved.services:
            labels = (found[each.image] or {}).get("Config", {}).get("Labels") or {}
            if is_of_another_tool(labels, self.instance, tool):
                raise of_another_tool(each.name)
        return {
            each.name: tuple((found[each.image] or {}).get("Config", {}).get("Volumes") or ())
            for each in resolved.services
        }

    async def _rechecked(self, stack: Stack) -> tuple[Project, tuple[Place, ...]] | None:
        """What is kept, judged again: nothing of it may lead out of the tool's own folder. None: it is not there."""
        config, places = await self._kept(stack, "compose.json"), await self._kept(stack, "places.json")
        if config is None or places is None:
            return None
        _refuse(config, self.tools / stack.tool)
        return self._project(stack, "compose.json"), tuple(Place(*each) for each in places.get("places", ()))

    async def _create(self, stack: Stack, project: Project, alive: Callable[[], bool]) -> None:
        """Where the engine has no addresses left, the networks get slices of `network_pool`."""
        await refuse_strangers(self.engine, stack.instance, stack.tool)
        try:
            return await self.compose.create(project, alive)
        except EngineError as refusal:
            if not is_out_of_addresses(refusal):
                raise await self._explained(stack, refusal) from refusal
            used_up = refusal
        config = await self._kept(stack, "compose.json") or {}
        for attempt in with_addresses(config, stack.tool, self.network_pool):
            try:
                return await self.compose.create(await self._written(stack, attempt, "compose.json"), alive)
            except EngineError as refusal:
                if not is_about_overlap(refusal):
                    raise
                used_up = refusal
        raise await out_of_addresses(self.engine, self.network_pool, used_up) from used_up

    async def _give_to_users(self, stack: Stack, places: Iterable[Place], made: Collection[Path]) -> None:
        """What a service writes to belongs to the user it runs as, from the beginning."""
        listed = await list_containers(self.engine, self.instance, stack.tool)
        containers = {each["Labels"].get(names.LABEL_COMPOSE_SERVICE, ""): each["Id"] for each in listed}
        for place in places:
            container = containers.get(place.owner or "")
            if place.owner is None or container is None or stack.data / place.path not in made:
                continue
            inspected = await self.engine.call("GET", path_of("containers", container, "json"))
            if owner := await owner_in(self.engine, container, inspected["Config"].get("User") or ""):
                await asyncio.to_thread(give_to, [stack.data / place.path], owner)
        self._unowned(stack).forget()

    async def _unpause(self, tool: str) -> None:
        """What somebody paused by hand: Compose would not start it."""
        for each in await list_containers(self.engine, self.instance, tool, "paused"):
            await self.engine.call("POST", path_of("containers", each["Id"], "unpause"))

    async def _explained(self, stack: Stack, refusal: EngineError, watch: StackWatch | None = None) -> EngineError:
        """Who has the port that the engine could not give, or which service it could not start."""
        if is_about_port(refusal):
            await self._ports.check_chosen(stack, await self._kept(stack, "compose.json") or {})
        if watch is not None and (found := await watch.unstartable()):
            return EngineError("compose_failed", unstartable_sentence(*found), refusal.detail)
        return refusal

    async def _running(self, tool: str) -> bool:
        return any(each["State"] in UP for each in await list_containers(self.engine, self.instance, tool))

    async def _has(self, image: str) -> bool:
        return await inspect_image(self.engine, image) is not None

    async def _stack(self, tool: Tool) -> Stack:
        """With its source unpacked."""
        await self.workshop.source(tool)
        return self._at(tool)

    def _at(self, tool: Tool) -> Stack:
        release = tool.release
        return Stack(
            instance=self.instance,
            tool=tool.id,
            release=release.id,
            source=self.tools / tool.id / "releases" / release.id / "source",
            folder=release.subdir or ".",
            data=self.tools / tool.id / "data",
            manifest=release.manifest,
            arguments=self.arguments,
        )

    async def _kept(self, stack: Stack, name: str) -> dict[str, Any] | None:
        """What was written down of the release; None where it is gone or cannot be read: it can be made again."""
        return await asyncio.to_thread(read_kept, self._project(stack, name).file)

    async def _written(self, stack: Stack, content: Config, name: str) -> Project:
        project = self._project(stack, name)
        await asyncio.to_thread(write_kept, project.file, content)
        return project

    def _unowned(self, stack: Stack) -> Unowned:
        return Unowned(self._project(stack, "unowned.json").file)

    def _project(self, stack: Stack, name: str) -> Project:
        return Project(stack.project, stack.source.parent, stack.source.parent / name)


async def _silence(_: list[str]) -> None:
    return None


def _reader(repository: Path) -> reading.Read:
    """Files of the repository, links followed: those that lead out were refused when it was unpacked."""

    def read(path: PurePosixPath) -> bytes | None:
        file = repository / path
        return file.read_bytes() if file.is_file() else None

    return read


def _refuse(config: Config, root: Path) -> None:
    meant = json.loads(plain(json.dumps(config)))
    if refusals := policy.judge(meant, PurePosixPath(root)):
        raise policy.refused(refusals)
