"""What shall be built and what shall run, in the words of tools and not of an engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from libs.contracts.manifest_values import Restart
from services.orchestrator.domain import names

MIB = 1024 * 1024


@dataclass(frozen=True)
class BuildSpec:
    """One image to build. `source` is the unpacked bundle, `subdir` the tool's folder in it.

    `dockerfile` is relative to the tool's folder; `arguments` become build arguments.
    """

    instance: str
    tool: str
    release: str
    source: Path
    subdir: str | None = None
    dockerfile: str = "Dockerfile"
    arguments: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def image(self) -> str:
        return names.image_reference(self.instance, self.tool, self.release)

    @property
    def labels(self) -> dict[str, str]:
        return names.release_labels(self.instance, self.tool, self.release)


@dataclass(frozen=True)
class BuiltImage:
    """`id` is the engine's content id; `reused` says that it was there already and nothing was built."""

    reference: str
    id: str
    exposed: tuple[int, ...] = ()
    reused: bool = False


@dataclass(frozen=True)
class FolderMount:
    """`path` is relative to the tool's data folder, `target` absolute in the container.

    `origin` is what of the repository, relative to it, it is filled with when it is made; without one it is as `path`.
    """

    path: str
    target: str
    read_only: bool = False
    origin: str | None = None


@dataclass(frozen=True)
class VolumeMount:
    """A volume of the tool's own; other tools may have one of the same `name`."""

    name: str
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class Limits:
    """`memory` in bytes (swap is not added to it), `cpus` in cores (None: all), `pids` in processes and threads."""

    memory: int = 1024 * MIB
    cpus: float | None = None
    pids: int = 2048


@dataclass(frozen=True)
class ContainerSpec:
    """One container of a tool.

    `port` is what it listens on inside, `host_port` where that is published on 127.0.0.1 (None: the one it
    already has, else a free one). `health_check` is a path that answers 200 when the tool is ready, and
    `readiness` the seconds it has for that; `source` is the unpacked repository that its folders are filled from.
    None of the three is part of the container itself. `restart` is the manifest's word.
    """

    instance: str
    tool: str
    release: str
    image: str
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    folders: tuple[FolderMount, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    port: int | None = None
    host_port: int | None = None
    limits: Limits = Limits()
    read_only: bool = False
    command: tuple[str, ...] | None = None
    health_check: str | None = None
    readiness: float = 60.0
    source: Path | None = None
    restart: Restart = "unless-stopped"

    @property
    def name(self) -> str:
        return names.container_name(self.instance, self.tool)

    @property
    def network(self) -> str:
        return names.network_name(self.instance, self.tool)
