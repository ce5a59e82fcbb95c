"""A service's connection for as long as it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import get_args

from libs.contracts.names import random_word
from libs.contracts.operations import Kind
from libs.contracts.streams import EVENTS
from libs.runtime.bus.connecting import connect
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.provision import provisioned
from libs.runtime.bus.timing import Timing
from libs.runtime.settings import Settings

# Seconds until NATS is asked again what time it is.
TIME_KEPT = 30.0


class ConnectionLost(Exception):
    """The client gave up for good; the process must end and be started again."""


@dataclass(frozen=True)
class Session:
    """`instance` is the id of this MACHETE."""

    bus: Bus
    instance: str
    timing: Timing


@asynccontextmanager
async def session(settings: Settings, service: str) -> AsyncGenerator[Session]:
    """Connected as this service's NATS user, on a server that is provisioned. One closed for good breaks out."""
    user, password = settings.nats_credentials(service)
    closed = asyncio.Event()
    async with (
        connect(
            settings.nats_url,
            user=user,
            password=password,
            service=service,
            source=f"{service}/{random_word(6)}",
            on_closed=closed.set,
        ) as bus,
        asyncio.TaskGroup() as group,
    ):
        watching = group.create_task(break_when(closed))
        instance = await provisioned(bus)
        await bus.ask_time(EVENTS)
        timing = group.create_task(_keep_time(bus))
        yield Session(bus, instance, timing_of(settings))
        watching.cancel()
        timing.cancel()


async def _keep_time(bus: Bus) -> None:
    """For a task group; never returns."""
    while True:
        await asyncio.sleep(TIME_KEPT)
        await bus.ask_time(EVENTS)


async def break_when(closed: asyncio.Event) -> None:
    """For a task group: raises `ConnectionLost` once this is set."""
    await closed.wait()
    raise ConnectionLost("the connection to NATS was closed for good")


def timing_of(settings: Settings) -> Timing:
    return Timing(
        ack_wait=settings.ack_wait,
        heartbeat=settings.heartbeat,
        watchdog_bound=settings.watchdog_bound,
        deadlines={kind: settings.deadline(kind) for kind in get_args(Kind)},
    )
