"""From Compose's own merged configuration to the one that is run: everything decided, everything labelled ours.

What is asked for and refused is the policy's part (`policy.py`); here nothing is judged, only settled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from libs.contracts.manifest import ResolvedManifest
from libs.contracts.problems import Failure
from libs.contracts.releases import StackService
from services.orchestrator.domain import names
from services.orchestrator.domain.builds import CACHE_NAMESPACE
from services.orchestrator.domain.container_body import LOG_ROTATION, image_volumes
from services.orchestrator.domain.specs import Limits
from services.orchestrator.domain.stacks.jobs import jobs, restart_of, retries
from services.orchestrator.domain.stacks.mounts import Mounts
from services.orchestrator.domain.stacks.places import Place
from services.orchestrator.domain.stacks.ports import Published, web
from services.orchestrator.domain.stacks.stack import (
    Config,
    Stack,
    escaped,
    given,
    labelled_volume,
    listed,
    nameless,
    part,
    plain,
    replicas,
    seconds_of,
)
from services.orchestrator.domain.tool_images import is_of_a_tool, never_an_id

NANO = 1_000_000_000
LOOPBACK = "127.0.0.1"
LONGEST_GRACE = 90.0  # seconds: a tool that would not be stopped for longer could be neither stopped nor removed
# Said by its author for another way of running it, and without effect here.
DROPPED = frozenset({"container_name", "develop", "profiles", "pull_policy", "ports", "restart", "volumes"})


@dataclass(frozen=True)
class Resolved:
    """`config` is what Compose runs; `built` are the services that have an image to build."""

    config: dict[str, Any]
    services: tuple[StackService, ...]
    built: tuple[str, ...]
    places: tuple[Place, ...]
    front: Published | None


def resolve(stack: Stack, config: Config, ports: Mapping[Published, int]) -> Resolved:
    """`ports` gives every port that the configuration publishes, and its front, the host's. Raises `Failure`."""
    services: Mapping[str, Config] = config["services"]
    front = web(config, stack.manifest.service, stack.manifest.port)
    mounts = Mounts(stack, config, front.service if front else None)
    once = jobs(services)
    images = _images(stack, services)
    settled: dict[str, dict[str, Any]] = {
        name: _service(stack, name, service, images[name], name in once)
        | {"volumes": mounts.of(name)}
        | _ports(name, service, front, ports)
        for name, service in services.items()
    }
    if front is not None:
        _say_of_front(stack.manifest, settled[front.service])
    for name, service in settled.items():
        service["labels"] |= _port_labels(name, front, ports)
        _limit(service, stack.manifest if front and front.service == name else None)
    whole: dict[str, Any] = {"name": stack.project, "services": settled}
    whole["networks"] = {key: _network(stack, key, each) for key, each in part(config, "networks").items()}
    whole["volumes"] = mounts.volumes()
    whole |= {key: config[key] for key in ("secrets", "configs") if config.get(key)}
    return Resolved(
        config=whole,
        services=tuple(
            StackService(name=name, image=images[name], job=name in once, replicas=replicas(settled[name]))
            for name in sorted(settled)
            if replicas(settled[name])
        ),
        built=tuple(name for name, service in sorted(settled.items()) if "build" in service and replicas(service)),
        places=mounts.places,
        front=front,
    )


def with_image_volumes(stack: Stack, config: dict[str, Any], declared: Mapping[str, tuple[str, ...]]) -> None:
    """Names the volumes that images declare, by service: nameless ones would be lost with their container."""
    for name, targets in declared.items():
        service = config["services"][name]
        taken = [plain(each["target"]) for each in service["volumes"]]
        taken += [plain(each.partition(":")[0]) for each in listed(service, "tmpfs")]
        for target, place in image_volumes(targets, taken).items():
            volume = nameless(name, target)
            config["volumes"][volume] = labelled_volume(stack, volume)
            service["volumes"].append({"type": "volume", "source": volume, "target": escaped(place), "volume": {}})


def _images(stack: Stack, services: Mapping[str, Config]) -> dict[str, str]:
    """What is built gets a tag of ours; others that name the same image mean the one that is built."""
    repository = names.image_repository(stack.instance, stack.tool)
    built: dict[str, str] = {}
    images: dict[str, str] = {}
    for name, service in services.items():
        if "build" in service:
            images[name] = f"{repository}:{stack.release}-{name}"
            if image := service.get("image"):
                built.setdefault(str(image), images[name])
    for name, service in services.items():
        if name not in images:
            named = str(service.get("image", ""))
            images[name] = built.get(named) or never_an_id(named)
            if is_of_a_tool(named) and images[name] not in built.values():
                raise of_another_tool(name)
    return images


def of_another_tool(service: str) -> Failure:
    said = f"services.{service}.image is an image that MACHETE built for a tool, or the id of any"
    return Failure("policy_refused", f"{said}; name a public image, or build one of the stack's own.")


def _service(stack: Stack, name: str, service: Config, image: str, job: bool) -> dict[str, Any]:
    kept = {
        key: value
        for key, value in service.items()
        if key not in DROPPED and not key.startswith("x-") and value is not None
    }
    settled: dict[str, Any] = {
        **kept,
        "image": image,
        "logging": {"driver": LOG_ROTATION["Type"], "options": LOG_ROTATION["Config"]},
        "security_opt": ["no-new-privileges:true"],
        "labels": _labels(stack, name, part(service, "labels"), job, retries(service)),
        "environment": given(part(service, "environment")),
    }
    if grace := service.get("stop_grace_period"):
        settled["stop_grace_period"] = f"{min(seconds_of(str(grace)), LONGEST_GRACE):g}s"
    if (restart := restart_of(service, job, stack.manifest.restart)) is not None:
        settled["restart"] = restart
        if "deploy" in settled:  # Compose would take its word rather than this one
            settled["deploy"] = {key: each for key, each in settled["deploy"].items() if key != "restart_policy"}
    if "build" in service:
        settled["build"] = _build(stack, service["build"])
    settled["labels"][names.LABEL_NETWORKS] = ""  # an image may carry one of its own
    if "network_mode" not in service:
        settled["networks"] = joined = _joined(service)
        if len(joined) > 1:
            settled["labels"][names.LABEL_NETWORKS] = " ".join(f"{stack.project}_{key}" for key in joined)
    return settled


def _labels(stack: Stack, name: str, own: Config, job: bool, again: bool) -> dict[str, str]:
    theirs = {key: value for key, value in own.items() if not key.startswith((names.PREFIX, "com.docker."))}
    ours = names.release_labels(stack.instance, stack.tool, stack.release)
    ours |= {names.LABEL_SERVICE: names.token(name), names.LABEL_JOB: "yes" if job else ""}
    return {**theirs, **ours, names.LABEL_RETRIES: "yes" if again else ""}


def _build(stack: Stack, build: Config) -> dict[str, Any]:
    """With the platform's build arguments; without caches and tags that lie outside the tool."""
    kept = {key: value for key, value in build.items() if key not in ("tags", "cache_from", "cache_to", "labels")}
    labels = names.release_labels(stack.instance, stack.tool, stack.release)
    ours = {key: escaped(value) for key, value in stack.arguments.items()}
    apart = {CACHE_NAMESPACE: names.cache_namespace(stack.instance, stack.tool)}
    return {**kept, "args": {**ours, **given(part(build, "args")), **apart}, "labels": labels}


def _joined(service: Config) -> dict[str, Any]:
    """The networks it joins; others may know it by its container's name, which it loses here."""
    joined = part(service, "networks") or {"default": None}
    alias = service.get("container_name")
    networks: dict[str, Any] = {}
    for key in joined:
        how = part(joined, key)
        networks[key] = {**how, "aliases": [*listed(how, "aliases"), alias]} if alias else how
    return networks


def _network(stack: Stack, key: str, network: Config | None) -> dict[str, Any]:
    kept = {name: value for name, value in (network or {}).items() if name not in ("name", "labels", "attachable")}
    labels = names.owner_labels(stack.instance, stack.tool)
    return {**kept, "name": f"{stack.project}_{key}", "labels": labels}


def _ports(name: str, service: Config, front: Published | None, ports: Mapping[Published, int]) -> dict[str, Any]:
    wanted = sorted((each for each in ports if each.service == name), key=lambda each: (each.target, ports[each]))
    if wanted and replicas(service) > 1:
        raise Failure(
            "port_shared",
            f"{name} publishes port {wanted[0].target} and has {replicas(service)} replicas, but one port of the host "
            "leads to one container: publish the port of a proxy in front of them, or run one replica.",
        )
    if front is not None and front.service == name and (service.get("network_mode") or "").startswith("service:"):
        raise Failure(
            "service_unknown",
            f"{name} shares the network of another service, so it publishes nothing: publish port {front.target} "
            "there, and name that service as machete.service.",
        )
    bound = [
        {
            "mode": "host",
            "host_ip": LOOPBACK,
            "target": each.target,
            "published": str(ports[each]),
            "protocol": each.protocol,
        }
        for each in wanted
    ]
    return {"ports": bound} if bound else {}


def _port_labels(name: str, front: Published | None, ports: Mapping[Published, int]) -> dict[str, str]:
    held = sorted({host for each, host in ports.items() if each.service == name})
    is_front = front is not None and front.service == name
    return {
        names.LABEL_PORT: str(ports[front]) if is_front and front is not None else "",
        names.LABEL_PORTS: ",".join(str(port) for port in held),
    }


def _say_of_front(manifest: ResolvedManifest, service: dict[str, Any]) -> None:
    """The manifest's variables are for the service it speaks of, and count more than the Compose file's."""
    if manifest.environment:
        said = {key: escaped(value) for key, value in manifest.environment.items()}
        service["environment"] = {**part(service, "environment"), **said}
    if manifest.permissions.filesystem.read_only:
        service["read_only"] = True


def _limit(service: dict[str, Any], manifest: ResolvedManifest | None) -> None:
    """Every service has limits: its own, the manifest's over them, or the platform's."""
    defaults = Limits()
    deploy = part(service, "deploy")
    resources = part(deploy, "resources")
    limits = dict(part(resources, "limits"))
    for key, short, default in (
        ("memory", "mem_limit", str(max(defaults.memory, _reserved(service)))),
        ("pids", "pids_limit", defaults.pids),
        ("cpus", "cpus", None),
    ):
        said = service.pop(short, None)
        value = limits.get(key) or (None if said in (None, "0", 0, -1) else said) or default
        if value is not None:
            limits[key] = value
    if manifest is not None and manifest.resources.memory_bytes:
        limits["memory"] = str(manifest.resources.memory_bytes)
    if manifest is not None and manifest.resources.nano_cpus:
        limits["cpus"] = str(manifest.resources.nano_cpus / NANO)
    if "cpus" in limits:
        limits["cpus"] = str(limits["cpus"])
    service["memswap_limit"] = limits["memory"]
    service["deploy"] = {**deploy, "resources": {**resources, "limits": limits}}


def _reserved(service: Config) -> int:
    """Bytes of memory that it is to have in any case: a limit below them, the engine would refuse."""
    resources = part(part(service, "deploy"), "resources")
    said = (part(resources, "reservations").get("memory"), service.get("mem_reservation"))
    return max((int(each) for each in map(str, said) if each.isdigit()), default=0)
