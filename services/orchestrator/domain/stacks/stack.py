"""A stack on one engine: whose it is, where its files lie, and what its things are called."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from libs.contracts.manifest import ResolvedManifest
from services.orchestrator.domain import names

Config = Mapping[str, Any]
"""A mapping of a Compose configuration, as Compose writes it in JSON."""


@dataclass(frozen=True)
class Stack:
    """A stack on one engine. `source` is the unpacked repository, `folder` the tool's folder in it, `data` the
    tool's data folder, as the engine's host sees them. `arguments` are given to every build that takes them."""

    instance: str
    tool: str
    release: str
    source: Path
    folder: str
    data: Path
    manifest: ResolvedManifest
    arguments: Mapping[str, str]

    @property
    def project(self) -> str:
        return names.container_name(self.instance, self.tool)


def part(config: Config, key: str) -> Config:
    """A mapping within a mapping; empty where there is none."""
    return cast(Config, config.get(key) or {})


def listed(config: Config, key: str) -> list[Any]:
    """A list within a mapping, or a single value as one; empty where there is none."""
    value: Any = config.get(key) or []
    return list(cast(list[Any], value)) if isinstance(value, list) else [value]


def replicas(service: Config) -> int:
    """How many containers of it run; with 0 it is there to be started by hand."""
    for said in (service.get("scale"), part(service, "deploy").get("replicas")):
        if said is not None:
            return int(said)
    return 1


def given(variables: Config) -> dict[str, str]:
    """Those that have a value: any other would be taken from the environment of whoever runs Compose."""
    return {name: str(value) for name, value in variables.items() if value is not None}


def escaped(text: str) -> str:
    """As Compose reads it back: it interpolates its own output once more."""
    return text.replace("$", "$$")


def plain(text: str) -> str:
    """What Compose wrote, without the escapes."""
    return text.replace("$$", "$")


def seconds_of(duration: str) -> float:
    """Of a duration as Compose writes it, like `1m30s` or `500ms`."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(ms|us|µs|ns|h|m|s)", duration))


def nameless(service: str, target: str) -> str:
    """What a volume is called to which nobody gave a name: the same for the same place of the same service."""
    return f"image-{hashlib.sha256(f'{service}:{target}'.encode()).hexdigest()[:10]}"


def labelled_volume(stack: Stack, key: str, volume: Config | None = None) -> dict[str, Any]:
    kept = {name: value for name, value in (volume or {}).items() if name in ("driver", "driver_opts")}
    labels = names.owner_labels(stack.instance, stack.tool)
    return {**kept, "name": names.volume_name(stack.instance, stack.tool, key), "labels": labels}
