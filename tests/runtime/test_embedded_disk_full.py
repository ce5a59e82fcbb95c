"""The platform's own NATS server on a disk that fills up, and has room again."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path

import pytest
from nats.js.client import JetStreamContext
from nats.js.errors import APIError

from libs.runtime.embedded import EmbeddedNats
from tests.chaos.harness.disks import filled, small_disk
from tests.support.nats_server import EVERYTHING, embedded_client


@pytest.fixture
def disk(tmp_path: Path) -> Generator[Path]:
    with small_disk(tmp_path / "disk", 64 * 1024 * 1024) as folder:
        yield folder


async def publish_until_refused(jetstream: JetStreamContext) -> int:
    """How many were acknowledged."""
    for number in range(1000):
        try:
            await jetstream.publish("kept", b"x" * 2000)
        except (TimeoutError, APIError):
            return number
    raise AssertionError("the disk is full, and the server still takes what comes")


async def test_a_full_disk_is_over_once_there_is_room_again(disk: Path) -> None:
    """What was acknowledged is there, and what comes is taken, without anybody's help."""
    async with EmbeddedNats(disk, EVERYTHING) as server, embedded_client(server) as client:
        jetstream = client.jetstream(timeout=1)
        await jetstream.add_stream(name="KEPT", subjects=["kept"])
        with filled(disk):
            acknowledged = await publish_until_refused(jetstream)
        async with asyncio.timeout(60):
            while True:
                try:
                    taken = await jetstream.publish("kept", b"after")
                    break
                except (TimeoutError, APIError):
                    await asyncio.sleep(0.2)
        assert taken.seq > acknowledged
        info = await jetstream.stream_info("KEPT")
        assert info.state.messages >= acknowledged + 1
        assert (await jetstream.get_msg("KEPT", taken.seq)).data == b"after"
