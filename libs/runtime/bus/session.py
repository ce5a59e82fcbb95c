"""A service's connection for as long as it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import get_args

from libs.contracts.names import random_word
from libs.contracts.operations import Kind
from libs.runtime.bus.connection import Bus, connect
from libs.runtime.bus.provision import provisioned
from libs.runtime.bus.timing import Timing
from libs.runtime.settings import Settings


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
        yield Session(bus, await provisioned(bus), timing_of(settings))
        watching.cancel()


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
