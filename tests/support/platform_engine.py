"""The engine as somebody else sees it: what of one instance is there, what happened to it, and a hand that meddles."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import docker
import docker.errors
from docker.utils import kwargs_from_env

LABEL_INSTANCE = "io.machete.instance"
LABEL_TOOL = "io.machete.tool"


@dataclass(frozen=True)
class Seen:
    """All that an instance, or one tool of it, has on the engine, by name."""

    containers: frozenset[str]
    images: frozenset[str]
    networks: frozenset[str]
    volumes: frozenset[str]

    @property
    def nothing(self) -> bool:
        return not (self.containers or self.images or self.networks or self.volumes)


@dataclass(frozen=True)
class Happened:
    """`at` is the engine's own time in seconds."""

    tool: str
    action: str
    container: str
    at: float


class OtherHand:
    """Docker's SDK, which knows nothing of MACHETE, on the containers of one instance."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.sdk = docker.APIClient(**kwargs_from_env(), timeout=60)

    def close(self) -> None:
        self.sdk.close()

    async def seen(self, tool: str | None = None) -> Seen:
        return await asyncio.to_thread(self._seen, tool)

    def _seen(self, tool: str | None) -> Seen:
        mine = self._mine(tool)
        images = (image["RepoTags"] or [image["Id"]] for image in self.sdk.images(filters=mine))
        return Seen(
            frozenset(each["Names"][0][1:] for each in self.sdk.containers(all=True, filters=mine)),
            frozenset(tag for tags in images for tag in tags),
            frozenset(each["Name"] for each in self.sdk.networks(filters=mine)),
            frozenset(each["Name"] for each in self.sdk.volumes(filters=mine)["Volumes"] or []),
        )

    def _mine(self, tool: str | None = None) -> dict[str, list[str]]:
        labels = [f"{LABEL_INSTANCE}={self.instance}"]
        return {"label": labels if tool is None else [*labels, f"{LABEL_TOOL}={tool}"]}

    async def running(self, tool: str | None = None) -> list[str]:
        """Names of the containers that run."""
        found = await asyncio.to_thread(self.sdk.containers, filters=self._mine(tool))
        return sorted(each["Names"][0][1:] for each in found)

    async def tools_running(self) -> list[tuple[str, str]]:
        """Tool and container of each container that runs; a stack has several."""
        found = await asyncio.to_thread(self.sdk.containers, filters=self._mine())
        return sorted((each["Labels"][LABEL_TOOL], each["Id"]) for each in found)

    async def kill(self, tool: str) -> None:
        await asyncio.to_thread(self.sdk.kill, self._container(tool))

    async def stop(self, tool: str) -> None:
        await asyncio.to_thread(self.sdk.stop, self._container(tool), 0)

    async def start(self, tool: str) -> None:
        await asyncio.to_thread(self.sdk.start, self._container(tool))

    async def remove(self, tool: str) -> None:
        """As `docker rm -f`."""
        await asyncio.to_thread(self.sdk.remove_container, self._container(tool), force=True)

    def _container(self, tool: str) -> str:
        return f"machete-{self.instance}-{tool}"

    async def inspect(self, tool: str) -> dict[str, Any]:
        return await asyncio.to_thread(self.sdk.inspect_container, self._container(tool))

    @contextmanager
    def watching(self) -> Generator[list[Happened]]:
        """What happens to the containers from now on, in a list that grows."""
        happened: list[Happened] = []
        stream = self.sdk.events(filters={"type": "container", **self._mine()}, decode=True)

        def listen() -> None:
            for event in stream:
                attributes = event["Actor"]["Attributes"]
                tool, name = attributes.get(LABEL_TOOL, ""), attributes.get("name", "")
                happened.append(Happened(tool, event["Action"], name, event["timeNano"] / 1e9))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield happened
        finally:
            stream.close()
            thread.join(5)

    def sweep(self) -> None:
        """Removes all that carries the instance's label."""
        with ThreadPoolExecutor(8) as several:
            for container in self.sdk.containers(all=True, filters=self._mine()):
                several.submit(self._unless_gone, self.sdk.remove_container, container["Id"], force=True, v=True)
        for network in self.sdk.networks(filters=self._mine()):
            self._unless_gone(self.sdk.remove_network, network["Id"])
        for volume in self.sdk.volumes(filters=self._mine())["Volumes"] or []:
            self._unless_gone(self.sdk.remove_volume, volume["Name"])
        for image in self.sdk.images(filters=self._mine()):
            self._unless_gone(self.sdk.remove_image, image["Id"], force=True)

    def _unless_gone(self, remove: Any, *arguments: Any, **options: Any) -> None:
        try:
            remove(*arguments, **options)
        except docker.errors.NotFound:
            return
