"""One of several replicas does a thing; another takes over when it falls silent.

A lease is a key in a bucket whose entries expire. It bounds how long nobody does it; that two may do it
for a moment is possible, so what is done under a lease must notice by itself (see `LogWriter`'s `exclusive`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog
from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from libs.contracts.streams import PRESENCE
from libs.runtime.bus.connection import Bus

log = structlog.get_logger(__name__)

REFRESH = (PRESENCE.ttl or 10) / 4


class LeaseLost(Exception):
    """Somebody else may hold it by now."""


@asynccontextmanager
async def lease(bus: Bus, key: str) -> AsyncGenerator[None]:
    """Waits until it is ours; breaks the block with `LeaseLost` (in an exception group) when it is not any more."""
    bucket, revision = await _acquire(bus, key)
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(_keep(bucket, key, bus.source, revision))
        try:
            yield
        finally:
            keeping.cancel()
            await _release(bucket, key, bus)


async def _acquire(bus: Bus, key: str) -> tuple[KeyValue, int]:
    while True:
        try:
            bucket = await bus.jetstream.key_value(PRESENCE.name)
            return bucket, await bucket.create(key, bus.source.encode())
        except (KeyWrongLastSequenceError, KeyNotFoundError):
            await asyncio.sleep(REFRESH)
        except NatsError as problem:
            log.warning("lease not acquired", key=key, problem=repr(problem))
            await asyncio.sleep(REFRESH)


async def _keep(bucket: KeyValue, key: str, holder: str, revision: int) -> None:
    clock = asyncio.get_running_loop()
    held_until = clock.time() + (PRESENCE.ttl or 10)
    while True:
        await asyncio.sleep(REFRESH)
        try:
            revision = await bucket.update(key, holder.encode(), last=revision)
            held_until = clock.time() + (PRESENCE.ttl or 10)
        except KeyWrongLastSequenceError as problem:
            raise LeaseLost(key) from problem
        except NatsError as problem:
            if clock.time() >= held_until:
                raise LeaseLost(key) from problem


async def _release(bucket: KeyValue, key: str, bus: Bus) -> None:
    """So that the next one need not wait for it to expire; if this fails, it expires."""
    try:
        async with asyncio.timeout(2):
            entry = await bucket.get(key)
            if (entry.value or b"").decode() == bus.source:
                await bucket.delete(key, last=entry.revision)
    except (NatsError, TimeoutError) as problem:
        log.info("lease left to expire", key=key, problem=repr(problem))
