"""Whether anybody takes what waits in a queue, as far as the server can tell."""

# nats-py leaves the types of its answers open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio

from libs.contracts.streams import Consumer, Stream
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.reader import asked_of

# Seconds. Between two requests of a worker there is a moment in which it has none.
BETWEEN_LOOKS = 0.2


async def unattended(bus: Bus, stream: Stream) -> frozenset[str]:
    """The names of those consumers for which no worker asks. Raises `Unavailable`.

    A worker has a request open at all times, unless it has its hands full. Of one that was killed the server knows at
    once, of one that froze after at most 30 seconds.
    """
    found = await _without_a_request(bus, stream)
    if found:
        await asyncio.sleep(BETWEEN_LOOKS)
        found &= await _without_a_request(bus, stream)
    return found


async def _without_a_request(bus: Bus, stream: Stream) -> frozenset[str]:
    async def waits(consumer: Consumer) -> bool:
        info = await bus.jetstream.consumer_info(stream.name, consumer.name)
        return not info.num_waiting and (info.num_ack_pending or 0) < consumer.max_ack_pending

    with asked_of(stream):
        waiting = await asyncio.gather(*(waits(consumer) for consumer in stream.consumers))
    return frozenset(consumer.name for consumer, alone in zip(stream.consumers, waiting, strict=True) if alone)
