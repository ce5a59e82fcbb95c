"""The fake engine keeps what the real one keeps, so what is tested with it holds there too."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.orchestrator.domain.failures import EngineAway
from services.orchestrator.domain.names import volume_name
from tests.orchestrator.engine_promises import BuilderPromises, ContainerPromises, FeedPromises, Rig
from tests.orchestrator.fake_engine import FakeBuilder, FakeContainers, FakeEngine, FakeFeed


@dataclass(frozen=True)
class FakeHand:
    engine: FakeEngine

    async def kill(self, container_id: str) -> None:
        self.engine.kill(next(found for found in self.engine.containers if found.id == container_id))

    async def images(self, prefix: str) -> list[str]:
        return [reference for reference in self.engine.images if reference.startswith(prefix)]

    async def networks(self, instance: str) -> list[str]:
        return [container.spec.network for container in self.engine.of(instance)]

    async def volumes(self, instance: str) -> list[str]:
        return [volume_name(*volume) for volume in self.engine.volumes if volume[0] == instance]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


def rig_of(engine: FakeEngine, instance: str, folder: Path) -> Rig:
    return Rig(
        instance,
        FakeContainers(engine, instance),
        FakeFeed(engine, instance),
        FakeBuilder(engine),
        FakeHand(engine),
        folder,
    )


@pytest.fixture
def rig(engine: FakeEngine, tmp_path: Path) -> Rig:
    return rig_of(engine, "aaaa2222", tmp_path)


@pytest.fixture
def neighbour(engine: FakeEngine, tmp_path: Path) -> Rig:
    return rig_of(engine, "bbbb3333", tmp_path)


class TestFakeContainers(ContainerPromises):
    pass


class TestFakeFeed(FeedPromises):
    pass


class TestFakeBuilder(BuilderPromises):
    pass


async def test_a_fake_engine_can_be_away_and_come_back(engine: FakeEngine, rig: Rig):
    async with aclosing(rig.feed.events()) as events:
        coming = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        engine.away = True
        with pytest.raises(EngineAway):
            await coming
    with pytest.raises(EngineAway):
        await rig.containers.observe("web-abc234")
    engine.away = False
    assert await rig.feed.ping()
