"""Three NATS servers that keep everything threefold: one of them may die at any time, and nobody but it notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial

import pytest

from libs.contracts.streams import BUCKETS, SOURCES, STREAMS
from tests.chaos.test_nats_killed import insisting, short_lives
from tests.support.nats_server import NatsCluster
from tests.support.platform import Platform, split_platform
from tests.support.platform_checks import fresh, succeeded
from tests.support.platform_tools import web
from tests.support.platform_waiting import until


@pytest.fixture(scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    async with split_platform(tmp_path_factory.mktemp("three"), "three", status=0) as platform:
        yield platform
        assert platform.complaints() == []


@pytest.fixture
def cluster(platform: Platform) -> NatsCluster:
    assert isinstance(platform.nats, NatsCluster)
    return platform.nats


async def test_everything_is_kept_by_each_of_the_three(platform: Platform, cluster: NatsCluster) -> None:
    names = [*(each.name for each in STREAMS), *(f"KV_{each.name}" for each in BUCKETS), f"OBJ_{SOURCES.name}"]
    infos = await platform.bus.jetstream.streams_info()
    assert {info.config.name: info.config.num_replicas for info in infos} == dict.fromkeys(names, 3)
    for stream in STREAMS:
        consumers = await platform.bus.jetstream.consumers_info(stream.name)
        assert all(each.config.num_replicas == 3 for each in consumers if each.config.durable_name)


async def test_each_may_be_killed_or_freeze_in_its_turn_while_tools_come_and_go(
    platform: Platform, cluster: NatsCluster
) -> None:
    first, second, third = cluster.servers
    async with short_lives(platform, 9):
        for killed in (first, third):
            await killed.kill()
            await asyncio.sleep(1)
            await killed.start()
            await cluster.healthy()
        second.pause()
        await asyncio.sleep(6)  # the others choose who leads in its place
        second.resume()
        await cluster.healthy()


async def test_with_one_gone_for_good_tools_come_and_go_and_it_catches_up(
    platform: Platform, cluster: NatsCluster
) -> None:
    away = cluster.servers[1]

    async def told() -> bool:
        health = await platform.api.health()
        check = health["services"]["gateway"]["checks"].get("nats_servers", {})
        return health["ready"] and health["status"] == "degraded" and "2 of 3 servers" in check["detail"]

    await away.kill()
    await until(told, "health says that one is away, and that all goes on", 60)
    async with short_lives(platform, 2):
        pass
    name = fresh("stays")
    await succeeded(platform, await platform.api.install(name, platform.forge.tool("web", web()), start=True))
    await away.start()
    await cluster.healthy()
    # The one that was away has what happened meanwhile: it is enough to have it and one other.
    await cluster.servers[0].kill()
    await succeeded(platform, await insisting(name, platform.api.stop))
    await cluster.servers[0].start()
    await cluster.healthy()


async def test_without_a_majority_nothing_is_accepted_and_nothing_lost(
    platform: Platform, cluster: NatsCluster
) -> None:
    first, second, _ = cluster.servers

    async def ready(service: str) -> bool:
        async with platform.api_of(service) as api:
            return (await api.health())["ready"]

    async def all_are(wanted: bool) -> bool:
        return all([await ready(service) is wanted for service in platform.processes])

    async with short_lives(platform, 4):
        await asyncio.sleep(0.5)
        await asyncio.gather(first.kill(), second.kill())
        await until(partial(all_are, False), "health of each service says that nothing can be kept", 60)
        await asyncio.gather(first.start(), second.start())
        await cluster.healthy()
        await until(partial(all_are, True), "and that it can again", 60)
