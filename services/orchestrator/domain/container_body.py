"""From a container spec to what the engine is asked to create."""

import hashlib
import json
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from libs.contracts.manifest_values import Restart
from libs.contracts.problems import Failure
from services.orchestrator.domain import names
from services.orchestrator.domain.specs import ContainerSpec, FolderMount, VolumeMount
from services.orchestrator.domain.stacks.places import Place

# An engine reads a log slower than a tool can write it: what is written in a burst has to lie until it is read. Short
# lines take some 80 bytes, so two million of them are always there.
LOG_ROTATION = {"Type": "json-file", "Config": {"max-size": "40m", "max-file": "5"}}


def create_body(spec: ContainerSpec, host_port: int | None, data: Path) -> dict[str, Any]:
    """The body of `POST /containers/create`; `data` is the tool's data folder as the engine sees it."""
    body: dict[str, Any] = {
        "Image": spec.image,
        "Env": [f"{name}={value}" for name, value in sorted(spec.environment.items())],
        "Labels": _labels(spec, host_port),
        "HostConfig": {
            "NetworkMode": spec.network,
            "RestartPolicy": {"Name": engine_restart(spec.restart)},
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": LOG_ROTATION,
            "Mounts": [*_folders(spec.folders, data), *_volumes(spec)],
            "Memory": spec.limits.memory,
            "MemorySwap": spec.limits.memory,
            "PidsLimit": spec.limits.pids,
            "ReadonlyRootfs": spec.read_only,
        },
    }
    if spec.limits.cpus is not None:
        body["HostConfig"]["NanoCpus"] = round(spec.limits.cpus * 1_000_000_000)
    if spec.command is not None:
        body["Cmd"] = list(spec.command)
    if spec.port is not None:
        inside = f"{spec.port}/tcp"
        body["ExposedPorts"] = {inside: {}}
        body["HostConfig"]["PortBindings"] = {inside: [{"HostIp": "127.0.0.1", "HostPort": str(host_port)}]}
    return body


def engine_restart(restart: Restart) -> str:
    """What the engine does by itself when the process ends.

    Never `always`: starting up, the engine would also start what was stopped for good.
    """
    return "unless-stopped" if restart == "always" else restart


def spec_hash(body: Mapping[str, Any]) -> str:
    """Two specs that make the same container have the same one. It is the label `io.machete.spec`."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def network_body(spec: ContainerSpec, subnet: str | None = None) -> dict[str, Any]:
    """The body of `POST /networks/create`; without a subnet the engine takes one from its own pools."""
    body: dict[str, Any] = {
        "Name": spec.network,
        "Driver": "bridge",
        "CheckDuplicate": True,
        "Labels": names.owner_labels(spec.instance, spec.tool),
    }
    if subnet is not None:
        body["IPAM"] = {"Config": [{"Subnet": subnet}]}
    return body


def with_image_volumes(spec: ContainerSpec, targets: Iterable[str]) -> ContainerSpec:
    """Name the volumes an image declares: nameless ones would be lost when the container is made anew."""
    mounted = (mount.target for mount in (*spec.folders, *spec.volumes))
    named = tuple(
        VolumeMount(f"image-{hashlib.sha256(target.encode()).hexdigest()[:10]}", place)
        for target, place in image_volumes(targets, mounted).items()
    )
    return replace(spec, volumes=(*spec.volumes, *named))


def image_volumes(declared: Iterable[str], mounted: Iterable[str]) -> dict[str, str]:
    """The volumes of an image that nothing else is mounted over: each as it is declared, and where it is mounted.

    An image declares what it likes: its paths are taken apart here, each place counts once. Raises `Failure`.
    """
    taken = {_cleaned(target) for target in mounted}
    found: dict[str, str] = {}
    for target in sorted(declared):
        place = _cleaned(target)
        if not target.startswith("/") or place == "/":
            raise Failure(
                "mount_refused",
                f"The image declares the volume {target!r}, which is no folder in a container: write an absolute path "
                "below / as VOLUME in its Dockerfile.",
            )
        if place not in taken:
            taken.add(place)
            found[target] = place
    return found


def _cleaned(path: str) -> str:
    return "/" + posixpath.normpath(path).lstrip("/")


def folder_of(mount: FolderMount, data: Path) -> Path:
    """Where a relative mount lies; one that would lead out of the data folder is refused."""
    path = PurePosixPath(mount.path)
    if path.is_absolute() or ".." in path.parts or "\0" in mount.path:
        raise Failure("mount_refused", f"The mount {mount.path!r} leads out of the tool's data folder: stay inside.")
    return data / path


def places_of(folders: Iterable[FolderMount]) -> tuple[Place, ...]:
    """Each place once, for the tool's user if it writes there."""
    found: dict[str, Place] = {}
    for mount in folders:
        path = str(PurePosixPath(mount.path))
        writes = not mount.read_only or (path in found and found[path].owner is not None)
        found[path] = Place(mount.origin or path, path, names.APP if writes else None)
    return tuple(found.values())


def _labels(spec: ContainerSpec, host_port: int | None) -> dict[str, str]:
    labels = names.release_labels(spec.instance, spec.tool, spec.release)
    labels[names.LABEL_SERVICE] = names.APP
    labels[names.LABEL_PORT] = "" if host_port is None else str(host_port)  # an image may carry one of its own
    return labels


def _folders(folders: Iterable[FolderMount], data: Path) -> list[dict[str, Any]]:
    mounts = list(folders)
    _refuse_nested(mounts)
    return [
        {
            "Type": "bind",
            "Source": str(folder_of(mount, data)),
            "Target": mount.target,
            "ReadOnly": mount.read_only,
        }
        for mount in mounts
    ]


def _refuse_nested(mounts: Sequence[FolderMount]) -> None:
    """A tool that sees the outer one could put a link to anywhere in place of the inner one.

    The engine looks the inner one up again each time it restarts the container, with nobody to check it.
    """
    paths = [(mount, PurePosixPath(mount.path)) for mount in mounts]
    for inner, path in paths:
        for outer, around in paths:
            if around != path and path.is_relative_to(around):
                raise Failure(
                    "mount_refused",
                    f"The mounts {outer.path!r} and {inner.path!r} lie one within the other: "
                    "mount the outer one alone, or two folders beside each other.",
                )


def _volumes(spec: ContainerSpec) -> list[dict[str, Any]]:
    return [
        {
            "Type": "volume",
            "Source": names.volume_name(spec.instance, spec.tool, mount.name),
            "Target": mount.target,
            "ReadOnly": mount.read_only,
            "VolumeOptions": {"Labels": names.owner_labels(spec.instance, spec.tool)},
        }
        for mount in spec.volumes
    ]
