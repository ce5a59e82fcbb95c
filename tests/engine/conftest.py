"""A real Docker Engine, seen by an instance of the test's own, and by somebody else: Docker's SDK."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest
from docker.utils import kwargs_from_env

from libs.contracts.names import random_word
from libs.runtime import loopback
from libs.runtime.children import Children
from services.orchestrator.adapters.builder import BuildxBuilder
from services.orchestrator.adapters.containers import DockerContainers
from services.orchestrator.adapters.engine import Engine
from services.orchestrator.adapters.feed import DockerFeed
from services.orchestrator.domain.names import LABEL_INSTANCE
from tests.orchestrator.engine_promises import WEB, Rig


@dataclass(frozen=True)
class OtherHand:
    """Somebody at the engine who knows nothing of MACHETE."""

    sdk: docker.APIClient

    async def kill(self, container_id: str) -> None:
        await asyncio.to_thread(self.sdk.kill, container_id)

    async def images(self, prefix: str) -> list[str]:
        found = await asyncio.to_thread(self.sdk.images)
        return [tag for image in found for tag in image["RepoTags"] or [] if tag.startswith(prefix)]

    async def networks(self, instance: str) -> list[str]:
        found = await asyncio.to_thread(self.sdk.networks, filters=_of(instance))
        return [network["Name"] for network in found]

    async def volumes(self, instance: str) -> list[str]:
        found = await asyncio.to_thread(self.sdk.volumes, filters=_of(instance))
        return [volume["Name"] for volume in found["Volumes"] or []]


@pytest.fixture(scope="session")
def sdk() -> Iterator[docker.APIClient]:
    client = docker.APIClient(**kwargs_from_env())
    yield client
    client.close()


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine.from_environment()


@contextmanager
def an_instance(sdk: docker.APIClient) -> Iterator[str]:
    """An instance id nobody else has; whatever carries it is removed at the end, however that came."""
    instance = random_word(8)
    try:
        yield instance
    finally:
        sweep(sdk, instance)


_swept: set[str] = set()


def sweep(sdk: docker.APIClient, instance: str) -> None:
    """Returns when the ports are free again, too: on a busy machine the engine lets go of them a little later."""
    ports: set[int] = set()
    _swept.add(instance)
    # Of those swept before too: what was asked of the engine by a test that was cut off may come into being behind it.
    for container in sdk.containers(all=True, filters={"label": LABEL_INSTANCE}):
        if container["Labels"][LABEL_INSTANCE] not in _swept:
            continue
        ports |= {port["PublicPort"] for port in container.get("Ports") or () if "PublicPort" in port}
        sdk.remove_container(container["Id"], force=True, v=True)
    give_up = time.monotonic() + 10
    while not all(loopback.is_free(port) for port in ports) and time.monotonic() < give_up:
        time.sleep(0.05)
    for network in sdk.networks(filters=_of(instance)):
        sdk.remove_network(network["Id"])
    for volume in sdk.volumes(filters=_of(instance))["Volumes"] or []:
        sdk.remove_volume(volume["Name"])
    for image in sdk.images(filters=_of(instance)):
        sdk.remove_image(image["Id"], force=True)


@pytest.fixture
def instance(sdk: docker.APIClient) -> Iterator[str]:
    with an_instance(sdk) as name:
        yield name


@pytest.fixture
def hand(sdk: docker.APIClient) -> OtherHand:
    return OtherHand(sdk)


@pytest.fixture
def rig(engine: Engine, instance: str, hand: OtherHand, tmp_path: Path) -> Rig:
    return rig_of(engine, instance, hand, tmp_path)


@pytest.fixture
def neighbour(engine: Engine, sdk: docker.APIClient, hand: OtherHand, tmp_path: Path) -> Iterator[Rig]:
    with an_instance(sdk) as name:
        yield rig_of(engine, name, hand, tmp_path / "neighbour")


def rig_of(engine: Engine, instance: str, hand: OtherHand, folder: Path) -> Rig:
    return Rig(
        instance,
        DockerContainers(engine, instance, folder / "tools"),
        DockerFeed(engine, instance),
        BuildxBuilder(engine, Children(), folder / "buildkit"),
        hand,
        folder,
    )


def data_of(rig: Rig, tool: str = WEB) -> Path:
    return rig.folder / "tools" / tool / "data"


async def printed(rig: Rig, script: str, **changes: Any) -> str:
    """What a container of the tool prints, run to its end."""
    spec = rig.spec(command=("sh", "-c", script), port=None, **changes)
    placed = await rig.containers.start(spec)
    async with asyncio.timeout(60):
        while (await rig.containers.observe(WEB)).services[0].is_up:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return (await rig.feed.tail_logs(placed.container_id, 20))[0].text


async def eventually(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """For what nobody tells us: look until it is so."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def _of(instance: str) -> dict[str, str]:
    return {"label": f"{LABEL_INSTANCE}={instance}"}
