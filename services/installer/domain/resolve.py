"""From the files of a tool's folder to its resolved manifest: everything decided that its author left open."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from libs.contracts.manifest import (
    DEFAULT_READINESS_SECONDS,
    MANIFEST_FILES,
    Manifest,
    ResolvedManifest,
    Resources,
)
from libs.contracts.source import Refused
from services.installer.domain.dockerfile import exposed_port
from services.installer.domain.manifests import parse_manifest

COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
DOCKERFILE = "Dockerfile"


class Folder(Protocol):
    """The tool's folder in the repository."""

    def has(self, path: str) -> bool:
        """Whether there is a file, links followed."""
        ...

    def read(self, path: str) -> bytes | None:
        """The file's first megabyte; None without one."""
        ...


@dataclass(frozen=True)
class Resolution:
    """`notes` are lines for whoever reads the log: what was passed over, assumed or is not acted on."""

    manifest: ResolvedManifest
    notes: tuple[str, ...]


def resolve(folder: Folder, *, name: str, version: str, platform: str) -> Resolution:
    """Decides by the files of the folder; raises `InvalidManifest` or `Refused`.

    `name` and `version` hold where no manifest says others; `platform` is the version of this MACHETE.
    """
    for file in MANIFEST_FILES:
        raw = folder.read(file)
        if raw is not None:
            checked = parse_manifest(raw, file, platform=platform)
            resolved = _container(folder, checked.manifest, file, name, version)
            notes = (*checked.notes, *_not_acted_on(checked.manifest, file), *_assumed(resolved, checked.manifest))
            return Resolution(resolved, notes)
    return _inferred(folder, name, version)


def _inferred(folder: Folder, name: str, version: str) -> Resolution:
    compose = next((file for file in COMPOSE_FILES if folder.has(file)), None)
    if compose is not None:
        raise _stack(compose, "or add a machete.yml to run the Dockerfile alone" if folder.has(DOCKERFILE) else None)
    if not folder.has(DOCKERFILE):
        raise Refused(
            "manifest_missing",
            "The folder has neither a machete.yml nor a Dockerfile: add a Dockerfile, and a machete.yml that names "
            "the port, or give the folder that has them as the subdir.",
        )
    resolved = _container(folder, Manifest(), DOCKERFILE, name, version)
    note = f"There is no {MANIFEST_FILES[0]}: the tool is run from its Dockerfile alone."
    return Resolution(resolved, (note, *_assumed(resolved, Manifest())))


def _container(folder: Folder, manifest: Manifest, file: str, name: str, version: str) -> ResolvedManifest:
    runtime = manifest.machete
    dockerfile = runtime.dockerfile or DOCKERFILE
    text = folder.read(dockerfile)
    if text is None:
        raise _no_dockerfile(folder, dockerfile, file)
    return ResolvedManifest(
        name=manifest.name or name,
        version=manifest.version or version,
        description=manifest.description,
        author=manifest.author,
        license=manifest.license,
        repository=manifest.repository,
        category=runtime.category,
        manifest_file=file,
        dockerfile=dockerfile,
        port=runtime.port or exposed_port(text.decode(errors="replace")),
        health_check=runtime.health_check,
        readiness_timeout=runtime.readiness_timeout or DEFAULT_READINESS_SECONDS,
        environment=runtime.environment,
        volumes=runtime.volumes,
        dependencies=runtime.dependencies,
        resources=Resources(memory_bytes=manifest.resources.memory, nano_cpus=manifest.resources.cpu),
        permissions=manifest.permissions,
        setup=manifest.setup,
        ui=manifest.ui,
        config=manifest.config,
    )


def _no_dockerfile(folder: Folder, dockerfile: str, file: str) -> Refused:
    compose = next((name for name in COMPOSE_FILES if folder.has(name)), None)
    if compose is not None and dockerfile == DOCKERFILE:
        return _stack(compose, None)
    return Refused(
        "dockerfile_missing",
        f"{file} is there, but no {dockerfile}: add it, or name another one as machete.dockerfile.",
    )


def _stack(compose: str, way_out: str | None) -> Refused:
    advice = f", {way_out}" if way_out else ""
    return Refused(
        "stack_not_supported_yet",
        f"{compose} describes a stack, and this release runs single containers: install a tool with a Dockerfile"
        f"{advice}.",
    )


def _assumed(resolved: ResolvedManifest, manifest: Manifest) -> Iterator[str]:
    if manifest.machete.port is None:
        if resolved.port is None:
            yield "No port is named or exposed: the tool runs without an address."
        else:
            yield f"Port {resolved.port} is taken from {resolved.dockerfile}."
    if resolved.health_check and resolved.port is None:
        yield "A health check without a port is not made."


def _not_acted_on(manifest: Manifest, file: str) -> Iterator[str]:
    """Keys of the form that this release takes in and does nothing with: said, so that nobody relies on them."""
    if manifest.machete.dependencies:
        yield f"{file}: machete.dependencies are not started by this release; start them yourself."
    if manifest.permissions.docker:
        yield f"{file}: permissions.docker is not granted by this release; the tool runs without Docker."
    if manifest.setup.script:
        yield f"{file}: setup.script is not run by this release; call it from the Dockerfile."
