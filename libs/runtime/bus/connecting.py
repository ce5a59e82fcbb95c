"""A connection to NATS is made, kept, and left."""

# nats-py leaves the types of its keyword parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import nats
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from libs.runtime import metrics
from libs.runtime.bus.connection import Bus
from libs.runtime.cancellation import told_to_end

log = structlog.get_logger(__name__)


def servers_of(url: str) -> list[str]:
    return [address.strip() for address in url.split(",")]


@asynccontextmanager
async def connect(
    url: str, *, user: str, password: str, service: str, source: str, on_closed: Callable[[], None] | None = None
) -> AsyncGenerator[Bus]:
    """A connection that reconnects for ever; `on_closed` is told if it ends all the same.

    `url` may name several servers of one cluster, by commas: the connection is with one that answers.
    """
    holder: list[Bus] = []
    leaving = False
    line = source.partition("/")[0], user

    async def noted(problem: Exception) -> None:
        if not leaving:
            log.warning("nats", problem=repr(problem))

    async def reconnected() -> None:
        log.info("nats reconnected")
        metrics.nats_connected.labels(*line).set(1)
        holder[0].reconnected()

    async def disconnected() -> None:
        if not leaving:
            metrics.nats_connected.labels(*line).set(0)
            metrics.nats_disconnects.labels(*line).inc()
            log.warning("nats disconnected")

    async def closed() -> None:
        if not leaving and on_closed is not None:
            on_closed()

    connection = await nats.connect(
        servers_of(url),
        user=user,
        password=password,
        name=source,
        inbox_prefix=inbox_prefix(service).encode(),
        allow_reconnect=True,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,
        connect_timeout=2,
        ping_interval=5,
        max_outstanding_pings=2,
        pending_size=8 * 1024 * 1024,
        error_cb=noted,
        reconnected_cb=reconnected,
        disconnected_cb=disconnected,
        closed_cb=closed,
    )
    bus = Bus(connection, source)
    holder.append(bus)
    metrics.nats_connected.labels(*line).set(1)
    metrics.nats_disconnects.labels(*line)
    try:
        yield bus
    finally:
        leaving = True
        metrics.nats_connected.remove(*line)
        await close(connection)


async def close(connection: Client) -> None:
    """Whatever state it is in: who leaves does not care what nats-py was about to do."""
    try:
        async with asyncio.timeout(5):
            await connection.close()
    except (NatsError, TimeoutError, OSError, RuntimeError) as problem:
        # RuntimeError: uvloop's, where what is still to be said finds the line closed.
        log.debug("nats did not close cleanly", problem=repr(problem))
    except asyncio.CancelledError as problem:
        # What nats-py waits for others wait for as well, and who cancels one of them cancels all.
        if told_to_end():
            raise
        log.debug("nats did not close cleanly", problem=repr(problem))


def inbox_prefix(service: str) -> str:
    """Every service has an inbox of its own: no other user may listen there."""
    return f"_INBOX_{service}"
