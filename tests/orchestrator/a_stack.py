"""A stack of no engine, and configurations as Compose writes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from libs.contracts.manifest import ResolvedManifest
from services.orchestrator.domain.stacks.ports import published, web
from services.orchestrator.domain.stacks.resolving import Resolved, resolve
from services.orchestrator.domain.stacks.stack import Stack

INSTANCE, TOOL, RELEASE = "abcdefgh", "web-abc234", "r1r1r1r1r1r1"
SOURCE = Path(f"/tools/{TOOL}/releases/{RELEASE}/source")
DATA = Path(f"/tools/{TOOL}/data")
PROJECT = f"machete-{INSTANCE}-{TOOL}"


def manifest(**said: Any) -> ResolvedManifest:
    about = {"name": "web", "version": "1", "manifest_file": "compose.yaml", "kind": "stack", "compose": "compose.yaml"}
    return ResolvedManifest.model_validate({**about, **said})


def a_stack(folder: str = ".", arguments: Mapping[str, str] | None = None, **said: Any) -> Stack:
    return Stack(INSTANCE, TOOL, RELEASE, SOURCE, folder, DATA, manifest(**said), arguments or {})


def config(services: Mapping[str, Mapping[str, Any]], **top: Any) -> dict[str, Any]:
    """What Compose always says is said here too."""
    whole = {name: {"image": "some:1", "networks": {"default": None}, **each} for name, each in services.items()}
    for each in whole.values():
        if "network_mode" in each:
            del each["networks"]
    return {"name": "x", "services": whole, "networks": {"default": {"name": "x_default", "ipam": {}}}, **top}


def bind(path: str, target: str, **more: Any) -> dict[str, Any]:
    return {"type": "bind", "source": str(SOURCE / path), "target": target, **more}


def resolved(stack: Stack, services: Mapping[str, Mapping[str, Any]], **top: Any) -> Resolved:
    """With host ports from 30000 on, by the order of service and port."""
    whole = config(services, **top)
    front = web(whole, stack.manifest.service, stack.manifest.port)
    every = sorted(published(whole) | ({front} if front else set()), key=lambda each: (each.service, each.target))
    return resolve(stack, whole, {each: each.wanted or 30_000 + number for number, each in enumerate(every)})
