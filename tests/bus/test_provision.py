"""What is there already becomes what is declared; what a cluster keeps is kept threefold, whoever provisions it."""

from __future__ import annotations

import pytest

from libs.contracts.streams import BUCKETS, COMMANDS, LOGS, SOURCES, STREAMS
from libs.contracts.subjects import LOG
from libs.runtime.bus.connecting import connect
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.provision import provision
from tests.support.nats_server import NATS_VERSIONS, NatsCluster, running_cluster
from tests.support.stage import USERS, staged

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


@pytest.mark.parametrize("version", NATS_VERSIONS)
async def test_a_stream_of_an_earlier_release_gets_the_bounds_of_this_one_and_keeps_what_it_has(version: str):
    subject = LOG.build({"tool": "lathe-aaaaaa", "source": "web"})
    async with staged(version) as stage:
        jetstream = stage.witness.jetstream
        declared = (await jetstream.stream_info(LOGS.name)).config
        await jetstream.update_stream(declared.evolve(max_msgs_per_subject=3))
        for number in range(5):
            await jetstream.publish(subject, str(number).encode())
        await provision(await stage.bus("platform"), ack_wait=10.0)
        now = await jetstream.stream_info(LOGS.name)
        assert (now.config, now.config.max_msgs_per_subject) == (declared, LOGS.per_subject)
        for number in range(5, 8):
            await jetstream.publish(subject, str(number).encode())
        assert [kept.data async for kept in stage.witness.each(LOGS, subject)] == [b"2", b"3", b"4", b"5", b"6", b"7"]
