"""What the services of a stack see of the host: folders of the tool's own, and volumes of the tool's own."""

from pathlib import PurePosixPath
from typing import Any

from libs.contracts.manifest_values import Volume
from services.orchestrator.domain.stacks.places import Bind, Place, mounted_over, placed
from services.orchestrator.domain.stacks.stack import (
    Config,
    Stack,
    escaped,
    labelled_volume,
    listed,
    nameless,
    part,
    plain,
)

Mount = dict[str, Any]


class Mounts:
    """All mounts of a stack, those of the manifest among them: they belong to `front`."""

    def __init__(self, stack: Stack, config: Config, front: str | None) -> None:
        self._stack = stack
        self._named = part(config, "volumes")
        services = part(config, "services")
        self._of = {name: self._asked(name, part(services, name), name == front) for name in services}
        owners: dict[str, str | None] = {}
        for name, mounts in self._of.items():
            for mount in mounts:
                if mount["type"] == "bind":
                    origin = self._origin(mount)
                    owners[origin] = owners.get(origin) or (None if mount.get("read_only") else name)
        self._places = placed(owners, stack.folder)

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple(self._places.values())

    def of(self, service: str) -> list[Mount]:
        asked = self._of[service]
        binds = [
            Bind(self._origin(mount), PurePosixPath(plain(mount["target"])), bool(mount.get("read_only")))
            for mount in asked
            if mount["type"] == "bind"
        ]
        taken = [PurePosixPath(plain(mount["target"])) for mount in asked]
        inner = [
            self._bind(self._places[each.origin], escaped(str(each.target)), each.read_only)
            for each in mounted_over(binds, self._places, taken)
        ]
        return [*(self._settled(mount) for mount in asked), *inner]

    def volumes(self) -> dict[str, Any]:
        used = {mount["source"] for mounts in self._of.values() for mount in mounts if mount["type"] == "volume"}
        return {key: labelled_volume(self._stack, key, part(self._named, key)) for key in sorted({*self._named, *used})}

    def _asked(self, name: str, service: Config, is_front: bool) -> list[Mount]:
        mounts: list[Mount] = [dict(mount) for mount in listed(service, "volumes")]
        for mount in mounts:
            if mount["type"] == "volume" and not mount.get("source"):
                mount["source"] = nameless(name, mount["target"])
        if not is_front:
            return mounts
        own = [self._of_manifest(volume) for volume in self._stack.manifest.volumes]
        replaced = {PurePosixPath(mount["target"]) for mount in own}
        return [*own, *(mount for mount in mounts if PurePosixPath(mount["target"]) not in replaced)]

    def _of_manifest(self, volume: Volume) -> Mount:
        common = {"target": escaped(volume.target), "read_only": volume.read_only}
        if volume.kind == "named":
            return {"type": "volume", "source": volume.source, "volume": {}, **common}
        source = str(self._stack.source / self._stack.folder / volume.source)
        return {"type": "bind", "source": escaped(source), **common}

    def _origin(self, mount: Mount) -> str:
        """Relative to the repository: the policy has refused whatever lies outside."""
        source = plain(mount["source"])
        return str(PurePosixPath(source).relative_to(PurePosixPath(self._stack.source)))

    def _settled(self, mount: Mount) -> Mount:
        if mount["type"] != "bind":
            return mount
        return self._bind(self._places[self._origin(mount)], mount["target"], bool(mount.get("read_only")))

    def _bind(self, place: Place, target: str, read_only: bool) -> Mount:
        source = escaped(str(self._stack.data / place.path))
        bind = {"create_host_path": False}
        return {"type": "bind", "source": source, "target": target, "read_only": read_only, "bind": bind}
