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
from services.installer.domain.compose_file import check_compose
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
            resolved, said = _decided(folder, checked.manifest, file, name, version)
            return Resolution(resolved, (*checked.notes, *_not_acted_on(checked.manifest, file), *said))
    resolved, said = _decided(folder, Manifest(), None, name, version)
    return Resolution(resolved, said)


def _decided(
    folder: Folder, manifest: Manifest, file: str | None, name: str, version: str
) -> tuple[ResolvedManifest, tuple[str, ...]]:
    """A stack where there is a Compose file, unless the manifest names a Dockerfile; else a container."""
    runtime = manifest.machete
    compose = runtime.compose or (None if runtime.dockerfile else _compose_file(folder))
    basis = ResolvedManifest(
        name=manifest.name or name,
        version=manifest.version or version,
        description=manifest.description,
        author=manifest.author,
        license=manifest.license,
        repository=manifest.repository,
        category=runtime.category,
        manifest_file=file or compose or DOCKERFILE,
        port=runtime.port,
        health_check=runtime.health_check,
        readiness_timeout=runtime.readiness_timeout or DEFAULT_READINESS_SECONDS,
        restart=runtime.restart,
        environment=runtime.environment,
        volumes=runtime.volumes,
        dependencies=runtime.dependencies,
        resources=Resources(memory_bytes=manifest.resources.memory, nano_cpus=manifest.resources.cpu),
        permissions=manifest.permissions,
        setup=manifest.setup,
        ui=manifest.ui,
        config=manifest.config,
    )
    if compose is None:
        return _container(folder, manifest, file, basis)
    return _stack(folder, compose, runtime.service, file, basis)


def _compose_file(folder: Folder) -> str | None:
    return next((file for file in COMPOSE_FILES if folder.has(file)), None)


def _stack(
    folder: Folder, compose: str, service: str | None, file: str | None, basis: ResolvedManifest
) -> tuple[ResolvedManifest, tuple[str, ...]]:
    """What the services are is for the orchestrator to find out: it asks Compose itself."""
    text = folder.read(compose)
    if text is None:
        raise Refused("compose_missing", f"{file} names {compose} as its Compose file, which is not there: add it.")
    check_compose(text, compose)
    notes: list[str] = []
    if file is None:
        notes.append(f"There is no {MANIFEST_FILES[0]}: the tool is run as the stack that {compose} describes.")
    if folder.has(DOCKERFILE) and file is not None:
        notes.append(f"The tool is the stack of {compose}; name machete.dockerfile to run the Dockerfile alone.")
    return basis.model_copy(update={"kind": "stack", "compose": compose, "service": service}), tuple(notes)


def _container(
    folder: Folder, manifest: Manifest, file: str | None, basis: ResolvedManifest
) -> tuple[ResolvedManifest, tuple[str, ...]]:
    dockerfile = manifest.machete.dockerfile or DOCKERFILE
    text = folder.read(dockerfile)
    if text is None:
        raise _nothing_to_run(dockerfile, file)
    port = basis.port or exposed_port(text.decode(errors="replace"))
    resolved = basis.model_copy(update={"dockerfile": dockerfile, "port": port})
    inferred = f"There is no {MANIFEST_FILES[0]}: the tool is run from its Dockerfile alone."
    return resolved, (*([] if file else [inferred]), *_assumed(resolved, manifest))


def _nothing_to_run(dockerfile: str, file: str | None) -> Refused:
    if file is None:
        return Refused(
            "manifest_missing",
            "The folder has neither a machete.yml nor a Compose file nor a Dockerfile: add a Dockerfile, and a "
            "machete.yml that names the port, or give the folder that has them as the subdir.",
        )
    if dockerfile == DOCKERFILE:
        return Refused(
            "dockerfile_missing",
            f"{file} is there, but neither a {DOCKERFILE} nor a Compose file ({COMPOSE_FILES[0]}): add one, or name "
            "it as machete.dockerfile or machete.compose.",
        )
    return Refused("dockerfile_missing", f"{file} names {dockerfile} as the Dockerfile, which is not there: add it.")


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
