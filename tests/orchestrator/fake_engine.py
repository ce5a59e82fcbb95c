"""A Docker Engine in memory, with the ports the orchestrator's handlers use.

`FakeEngine` is the machine; `FakeContainers`, `FakeFeed` and `FakeBuilder` are what one instance sees of it. They
keep the promises of `engine_promises.py`, which the real adapters keep too. A container does what `behaviours.py`
says of its command; one without a command serves well, unless `FakeEngine.behaviours` names its tool.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

from services.orchestrator.adapters.builder import context_of
from services.orchestrator.domain.builds import BuildLog
from services.orchestrator.domain.engine_events import EngineEvent
from services.orchestrator.domain.failures import EngineAway, EngineError, NotReady, PortTaken, ToolExited
from services.orchestrator.domain.log_frames import LogLine, LogPosition
from services.orchestrator.domain.names import APP
from services.orchestrator.domain.observations import ContainerState, Health, Observation, ServiceObservation
from services.orchestrator.domain.port_choice import choose_port
from services.orchestrator.domain.readiness import Answer, exit_sentence, late_sentence, verdict
from services.orchestrator.domain.specs import BuildSpec, BuiltImage, ContainerSpec
from services.orchestrator.ports import AT_LEISURE, Guard, Pace, Placed, Removed, always, unguarded
from tests.orchestrator.behaviours import BEHAVIOURS, IMAGE, WELL, Behaviour


@dataclass
class FakeContainer:
    id: str
    spec: ContainerSpec
    host_port: int | None
    state: ContainerState = "created"
    exit_code: int | None = None
    restarts: int = 0
    health: Health = "none"
    doubtful: bool = False  # as of one that is called by another name
    lines: list[LogLine] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def service(self) -> ServiceObservation:
        code = self.exit_code if self.state in ("exited", "restarting") else None
        return ServiceObservation(
            APP,
            self.state,
            self.health,
            exit_code=code,
            container_id=self.id,
            restarts=self.restarts,
            host_port=self.host_port,
        )

    def print(self, text: str, stream: str = "stdout") -> None:
        now = time.time_ns()
        position = LogPosition(now, 1)
        self.lines.append(LogLine(now, "stderr" if stream == "stderr" else "stdout", text, position))
        self.tell()

    def tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class FakeEngine:
    """`away` makes every call fail, as if the engine were gone. `calls` are the names of all calls made.

    `ahead` is by how many nanoseconds its clock differs from ours.
    """

    def __init__(self) -> None:
        self.containers: list[FakeContainer] = []
        self.images: dict[str, tuple[str, str] | None] = {IMAGE: None}
        self.volumes: set[tuple[str, str, str]] = set()
        self.behaviours: dict[str, Behaviour] = {}
        self.history: list[tuple[str, EngineEvent]] = []
        self.calls: list[str] = []
        self.ahead = 0
        self._away = False
        self._changed = asyncio.Event()
        self._made = 0

    @property
    def away(self) -> bool:
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        self._away = away
        self._tell()

    def called(self, name: str) -> None:
        self.calls.append(name)
        if self._away:
            raise EngineAway("No Docker Engine answers at fake: start it.")

    def of(self, instance: str, tool: str | None = None) -> list[FakeContainer]:
        return [
            container
            for container in self.containers
            if container.spec.instance == instance and tool in (None, container.spec.tool)
        ]

    def make(self, spec: ContainerSpec, host_port: int | None) -> FakeContainer:
        self._made += 1
        identity = hashlib.sha256(f"{self._made}".encode()).hexdigest()
        container = FakeContainer(identity, spec, host_port)
        self.containers.append(container)
        self.volumes |= {(spec.instance, spec.tool, volume.name) for volume in spec.volumes}
        self.happened(container, "create")
        return container

    def run(self, container: FakeContainer) -> None:
        behaviour = self.behaviour(container.spec)
        container.state, container.restarts = "running", 0
        self.happened(container, "start")
        for stream, text in behaviour.prints:
            container.print(text, stream)
        if behaviour.exit_code is not None:
            self.end(container, behaviour.exit_code, state="restarting")

    def end(self, container: FakeContainer, exit_code: int, state: ContainerState = "exited") -> None:
        """By itself; the engine starts it again where the state says so."""
        container.state, container.exit_code = state, exit_code
        container.restarts += state == "restarting"
        self.happened(container, "die", exit_code)
        container.tell()

    def kill(self, container: FakeContainer, exit_code: int = 137) -> None:
        """By a signal that somebody asked the engine to send."""
        self.happened(container, "kill")
        self.end(container, exit_code)

    def stop(self, container: FakeContainer) -> None:
        self.kill(container, 143)
        self.happened(container, "stop")

    def discard(self, container: FakeContainer) -> None:
        if container.state == "running":
            self.kill(container)
        self.containers.remove(container)
        self.happened(container, "destroy")

    def behaviour(self, spec: ContainerSpec) -> Behaviour:
        return self.behaviours.get(spec.tool) or BEHAVIOURS.get(spec.command, WELL)

    def happened(self, container: FakeContainer, action: str, exit_code: int | None = None) -> None:
        spec = container.spec
        about = container.id, spec.name, spec.tool, APP, action, self.now(), exit_code
        event = EngineEvent(*about, doubtful=container.doubtful)
        self.history.append((spec.instance, event))
        self._tell()

    def now(self) -> int:
        return time.time_ns() + self.ahead

    async def next_change(self) -> None:
        await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


@dataclass(frozen=True)
class FakeContainers:
    engine: FakeEngine
    instance: str

    async def prepare(self, spec: ContainerSpec) -> Placed:
        self.engine.called("prepare")
        for container in self.engine.of(self.instance, spec.tool):
            if container.state in ("running", "restarting"):
                return Placed(container.id, container.host_port, created=False, started=False)
        return self._place(spec)

    async def start(self, spec: ContainerSpec) -> Placed:
        self.engine.called("start")
        placed = self._place(spec)
        container = self._container(placed.container_id)
        if container.state in ("running", "restarting"):
            return placed
        if placed.host_port is not None:
            self._check_port(container, placed.host_port)
        self.engine.run(container)
        return Placed(placed.container_id, placed.host_port, placed.created, started=True)

    async def ready(self, spec: ContainerSpec, placed: Placed) -> None:
        self.engine.called("ready")
        container = self._container(placed.container_id)
        answers = self.engine.behaviour(spec).answers
        answer = Answer(refusal="connection refused")
        if answers is not None:
            answer = Answer(answers.get(spec.health_check, 200) if spec.health_check else None)
        log = [line.text for line in container.lines][-20:]
        match verdict(spec, container.service, 0, answer, elapsed=spec.readiness):
            case "exited":
                raise ToolExited(exit_sentence(container.service), container.exit_code, False, log)
            case "late":
                seen = answer.in_words(spec)
                raise NotReady(late_sentence(spec, "app", seen), seen, log)
            case _:
                return

    async def stop(self, tool: str, timeout: float = 10.0, guard: Guard = unguarded) -> Observation:
        self.engine.called("stop")
        await guard()
        for container in self.engine.of(self.instance, tool):
            if container.state in ("running", "restarting"):
                self.engine.stop(container)
        return self._observation(tool)

    async def remove(
        self, tool: str, *, images: bool = True, data: bool = False, renamed: bool = True, guard: Guard = unguarded
    ) -> Removed:
        self.engine.called("remove")
        await guard()
        containers = [each for each in self.engine.of(self.instance, tool) if renamed or not each.doubtful]
        for container in containers:
            self.engine.discard(container)
        owner = (self.instance, tool)
        ours = [name for name, whose in self.engine.images.items() if whose == owner] if images else []
        for name in ours:
            del self.engine.images[name]
        found = sorted(volume for volume in self.engine.volumes if volume[:2] == owner)
        volumes, kept = (found, []) if data else ([], found)
        self.engine.volumes -= set(volumes)
        names = tuple(container.spec.name for container in containers)
        gone, stays = (tuple(name for *_, name in each) for each in (volumes, kept))
        return Removed(names, names, gone, tuple(ours), kept=stays)

    async def observe(self, tool: str) -> Observation:
        self.engine.called("observe")
        return self._observation(tool)

    async def observe_all(self) -> dict[str, Observation]:
        self.engine.called("observe_all")
        tools = {container.spec.tool for container in self.engine.of(self.instance)}
        return {tool: self._observation(tool) for tool in sorted(tools)}

    async def orphans(self, known: Collection[str]) -> dict[str, Observation]:
        return {tool: seen for tool, seen in (await self.observe_all()).items() if tool not in known}

    async def owning(self) -> set[str]:
        self.engine.called("owning")
        images = {owner[1] for owner in self.engine.images.values() if owner is not None and owner[0] == self.instance}
        return images | {each.spec.tool for each in self.engine.of(self.instance) if not each.doubtful}

    def _place(self, spec: ContainerSpec) -> Placed:
        found = self.engine.of(self.instance, spec.tool)
        port = None
        if spec.port is not None:
            held = {container.host_port for container in self.engine.containers}
            kept = next((container.host_port for container in found), None)
            port = spec.host_port or kept or choose_port(spec.tool, held, lambda port: True)
        for container in found:
            if container.spec == spec and container.host_port == port:
                return Placed(container.id, port, created=False, started=False)
        if spec.image not in self.engine.images:
            raise EngineError("image_missing", f"The engine has no image {spec.image}: build the tool again.")
        for container in found:
            self.engine.discard(container)
        return Placed(self.engine.make(spec, port).id, port, created=True, started=False)

    def _check_port(self, container: FakeContainer, port: int) -> None:
        held = {other.host_port: other for other in self.engine.containers if other is not container}
        if port in held and held[port].state == "running":
            free = choose_port(container.spec.tool, {port, *held}, lambda port: True)
            raise PortTaken(port, held[port].spec.name, free)

    def _container(self, identity: str) -> FakeContainer:
        return next(container for container in self.engine.containers if container.id == identity)

    def _observation(self, tool: str) -> Observation:
        services = tuple(container.service for container in self.engine.of(self.instance, tool))
        return Observation(tool, services, datetime.now(UTC))


@dataclass(frozen=True)
class FakeFeed:
    engine: FakeEngine
    instance: str

    async def ping(self) -> str:
        self.engine.called("ping")
        return "26.1.5-fake"

    async def now(self) -> int:
        self.engine.called("now")
        return self.engine.now()

    async def events(self, since: int | None = None) -> AsyncGenerator[EngineEvent, None]:
        told = len(self.engine.history)
        if since is not None:
            told = next((n for n, (_, event) in enumerate(self.engine.history) if event.time >= since), told)
        while True:
            self.engine.called("events")
            for instance, event in self.engine.history[told:]:
                told += 1
                if instance == self.instance:
                    yield event
            if told == len(self.engine.history):
                await self.engine.next_change()

    async def follow_logs(
        self, container_id: str, after: LogPosition | None = None, pace: Pace = AT_LEISURE
    ) -> AsyncGenerator[list[LogLine], None]:
        container = self._container(container_id)
        told = len([line for line in container.lines if after and line.time <= after.time])
        while True:
            self.engine.called("follow_logs")
            if lines := container.lines[told:]:
                told += len(lines)
                yield lines
            elif container.state != "running":
                return
            else:
                await container.changed.wait()

    async def tail_logs(self, container_id: str, count: int) -> list[LogLine]:
        self.engine.called("tail_logs")
        return self._container(container_id).lines[-count:]

    def _container(self, identity: str) -> FakeContainer:
        for container in self.engine.containers:
            if container.id == identity:
                return container
        raise EngineError("not_found", f"The Docker Engine refused: No such container: {identity}", status=404)


@dataclass(frozen=True)
class FakeBuilder:
    """Reads the Dockerfile: prints its steps, sleeps in `RUN sleep`, fails in `RUN exit`."""

    engine: FakeEngine
    builds: list[BuildSpec] = field(default_factory=list)

    async def build(
        self, spec: BuildSpec, log: Callable[[list[str]], Awaitable[None]], alive: Callable[[], bool] = always
    ) -> BuiltImage:
        self.engine.called("build")
        identity = "sha256:" + hashlib.sha256(spec.image.encode()).hexdigest()
        if spec.image in self.engine.images:
            return BuiltImage(spec.image, identity, reused=True)
        self.builds.append(spec)
        steps = (context_of(spec) / spec.dockerfile).read_text().splitlines()
        story, exposed = BuildLog(), []
        for number, step in enumerate(steps, start=1):
            lines = [f"#{number} [{number}/{len(steps)}] {step}"]
            instruction, *words = step.split()
            if words[:1] == ["exit"]:
                reason = f'process "/bin/sh -c {" ".join(words)}" did not complete successfully'
                lines += [f"#{number} ERROR: {reason}: exit code: {words[1]}"]
            story.read(lines)
            await log(lines)
            if words[:1] == ["exit"]:
                raise story.failure(1)
            if words[:1] == ["sleep"]:
                await asyncio.sleep(float(words[1]))
            if instruction == "EXPOSE":
                exposed += [int(word) for word in words]
        self.engine.images[spec.image] = (spec.instance, spec.tool)
        return BuiltImage(spec.image, identity, tuple(exposed))
