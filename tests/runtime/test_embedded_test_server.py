"""The servers that tests run on do what tests ask of them."""

import asyncio

import pytest
from nats.js.api import StreamConfig

from tests.support.nats_server import NATS_VERSIONS, running_nats
from tests.support.processes import state_of


@pytest.mark.parametrize("version", NATS_VERSIONS)
async def test_a_killed_server_starts_again_with_port_store_and_clients(version: str):
    async with running_nats(version) as server:
        client = await server.connect(reconnect_time_wait=0.05)
        await client.jetstream().add_stream(StreamConfig(name="S", subjects=["s"]))
        await client.jetstream().publish("s", b"kept")
        for end in (server.kill, server.terminate):
            await end()
            await server.start()
        assert (await client.jetstream().get_last_msg("S", "s")).data == b"kept"
        assert client.connected_url is not None
        assert client.connected_url.port == server.port
        await client.close()


async def test_a_paused_server_is_silent_until_it_is_resumed():
    async with running_nats() as server:
        client = await server.connect()
        server.pause()
        answer = asyncio.create_task(client.flush())
        assert not (await asyncio.wait([answer], timeout=0.3))[0]
        server.resume()
        await answer
        await client.close()


async def test_a_server_is_gone_after_its_test_with_its_folder():
    async with running_nats() as server:
        assert server.folder.exists()
    assert (state_of(server.pid), server.folder.exists()) == (None, False)
