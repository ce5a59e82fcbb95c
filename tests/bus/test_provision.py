"""What a cluster keeps is kept threefold, whoever provisions it and whichever of its servers he knows."""

from __future__ import annotations

from libs.contracts.streams import BUCKETS, COMMANDS, SOURCES, STREAMS
from libs.runtime.bus.connection import Bus, connect
from libs.runtime.bus.provision import provision
from tests.support.nats_server import NatsCluster, running_cluster
from tests.support.stage import USERS

NAMES = [*(each.name for each in STREAMS), *(f"KV_{each.name}" for each in BUCKETS), f"OBJ_{SOURCES.name}"]


async def provisioned(cluster: NatsCluster, servers: int) -> None:
    """By somebody who knows the addresses of so many of them."""
    url = ",".join(each.url for each in cluster.servers[:servers])
    password = cluster.password("platform")
    async with connect(url, user="platform", password=password, service="platform", source="platform") as bus:
        assert bus.servers == servers
        await provision(bus, ack_wait=10.0)
        assert await copies(bus) == dict.fromkeys(NAMES, 3)


async def copies(bus: Bus) -> dict[str, int | None]:
    for consumer in COMMANDS.consumers:
        assert (await bus.jetstream.consumer_info(COMMANDS.name, consumer.name)).config.num_replicas == 3
    return {name: (await bus.jetstream.stream_info(name)).config.num_replicas for name in NAMES}


async def test_a_cluster_keeps_everything_threefold_however_few_of_its_servers_are_named():
    async with running_cluster(users=USERS) as cluster:
        for named in (1, 3, 2):
            await provisioned(cluster, named)
