"""What a tool's release asks of the engine."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count, islice
from pathlib import Path, PurePosixPath

from libs.contracts.manifest_values import Volume
from libs.contracts.releases import StackService
from libs.contracts.tools import Desired, Repairs, ServiceStatus, Tool
from services.orchestrator.domain import names
from services.orchestrator.domain.observations import Observation, ServiceObservation
from services.orchestrator.domain.specs import BuildSpec, ContainerSpec, FolderMount, Limits, VolumeMount
from services.orchestrator.domain.stacks.places import Bind, mounted_over, placed
from services.orchestrator.domain.tool_state import tool_state

NANO = 1_000_000_000


def build_spec(instance: str, tool: Tool, source: Path, arguments: Mapping[str, str]) -> BuildSpec:
    release = tool.release
    return BuildSpec(
        instance=instance,
        tool=tool.id,
        release=release.id,
        source=source,
        subdir=release.subdir,
        dockerfile=release.manifest.dockerfile,
        arguments=arguments,
    )


def container_spec(instance: str, tool: Tool) -> ContainerSpec:
    manifest = tool.release.manifest
    volumes = manifest.volumes
    return ContainerSpec(
        instance=instance,
        tool=tool.id,
        release=tool.release.id,
        image=tool.release.image or "",
        environment=manifest.environment,
        folders=_folders(volumes, tool.release.subdir or "."),
        volumes=tuple(VolumeMount(v.source, v.target, v.read_only) for v in volumes if v.kind == "named"),
        port=manifest.port,
        host_port=tool.port,
        limits=_limits(manifest.resources.memory_bytes, manifest.resources.nano_cpus),
        read_only=manifest.permissions.filesystem.read_only,
        health_check=manifest.health_check,
        readiness=manifest.readiness_timeout,
        restart=manifest.restart,
    )


def _folders(volumes: Sequence[Volume], folder: str) -> tuple[FolderMount, ...]:
    """By the rules of a stack's binds; `folder` is the tool's in the repository."""
    binds = [
        Bind(str(PurePosixPath(folder, each.source)), PurePosixPath(each.target), each.read_only)
        for each in volumes
        if each.kind == "path"
    ]
    places = placed({bind.origin: None for bind in binds}, folder)
    inner = mounted_over(binds, places, [PurePosixPath(each.target) for each in volumes])
    return tuple(
        FolderMount(places[bind.origin].path, str(bind.target), bind.read_only, bind.origin)
        for bind in (*binds, *inner)
    )


def _limits(memory: int | None, nano_cpus: int | None) -> Limits:
    defaults = Limits()
    cpus = nano_cpus / NANO if nano_cpus is not None else defaults.cpus
    return Limits(memory=memory or defaults.memory, cpus=cpus, pids=defaults.pids)


def as_seen(
    tool: Tool, seen: Observation, desired: Desired, failure: str | None = None, repairs: Repairs | None = None
) -> Tool:
    """The tool with the state that its containers show; `since` moves only when the state does.

    Of what was done to it unasked only `repairs` count on: whoever asks for something begins anew.
    """
    services = whole(tool, seen.services)
    state, reason = tool_state(desired, services, failure=failure, seen_at=seen.observed_at)
    port = next((service.host_port for service in services if service.host_port), tool.port)
    return tool.model_copy(
        update={
            "state": state,
            "desired": desired,
            "reason": reason,
            "since": tool.since if state is tool.state else seen.observed_at,
            "port": port,
            "urls": urls(tool, port),
            "services": statuses(services),
            "repairs": repairs,
        }
    )


def whole(tool: Tool, seen: tuple[ServiceObservation, ...]) -> tuple[ServiceObservation, ...]:
    """With the services of its stack that are not on the engine; a job that is gone has had its turn.

    Where nothing of it is there at all it was never made, or taken away: each of them is missing then too.
    """
    missing = (each for service in tool.release.services if not service.job for each in _missing(service, seen))
    return tuple(sorted((*seen, *missing), key=lambda service: service.name))


def _missing(service: StackService, seen: Sequence[ServiceObservation]) -> list[ServiceObservation]:
    """Compose gives a replica that it makes anew the next number, so they are counted; what lacks has a free name."""
    name = names.token(service.name)
    lacking = service.replicas - sum(each.belongs_to == name for each in seen)
    taken = {each.name for each in seen}
    free = (each for each in map(partial(names.replica, name), count(1)) if each not in taken)
    return [ServiceObservation(each, "missing", service=name) for each in islice(free, max(lacking, 0))]


def statuses(services: tuple[ServiceObservation, ...]) -> tuple[ServiceStatus, ...]:
    return tuple(
        ServiceStatus(name=each.name, state=each.state, health=each.health, exit_code=each.exit_code, job=each.job)
        for each in services
    )


def urls(tool: Tool, port: int | None) -> tuple[str, ...]:
    return (f"http://127.0.0.1:{port}/",) if port and tool.release.manifest.port else ()
