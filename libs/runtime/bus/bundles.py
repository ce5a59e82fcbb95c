"""Source bundles in the object store: handed over from service to service, never overwritten.

A name is used for one upload only (digest and fence), because putting an object again while it
is read leaves the reader hanging.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from nats.js.errors import NotFoundError, ObjectNotFoundError

from libs.contracts.streams import SOURCES
from libs.runtime.bus.connection import Bus


class BundleMissing(Exception):
    """No bundle of that name is kept."""


async def put(bus: Bus, path: Path, digest: str, fence: int) -> str:
    """Stores the file; returns the name under which `get` finds it."""
    store = await bus.jetstream.object_store(SOURCES.name)
    name = f"{digest}.{fence}"
    try:
        await store.get_info(name)
        return name
    except (NotFoundError, ObjectNotFoundError):
        with path.open("rb") as source:
            await store.put(name, source)
    return name


async def get(bus: Bus, name: str, target: Path, *, patience: float = 60.0) -> None:
    """Writes the bundle to a file, checked against its digest; raises `BundleMissing` or `TimeoutError`."""
    store = await bus.jetstream.object_store(SOURCES.name)
    with target.open("wb") as sink:
        try:
            async with asyncio.timeout(patience):
                await store.get(name, writeinto=sink)  # pyright: ignore[reportArgumentType]
        except (NotFoundError, ObjectNotFoundError):
            raise BundleMissing(name) from None


async def sweep(bus: Bus, keep: set[str], older_than: float) -> list[str]:
    """Deletes bundles that no kept release names and that are older than so many seconds; returns their names."""
    store = await bus.jetstream.object_store(SOURCES.name)
    gone: list[str] = []
    try:
        kept = await store.list()
    except (NotFoundError, ObjectNotFoundError):
        return gone
    for info in kept:
        age = _age(info.mtime)
        if info.name not in keep and age > older_than:
            await store.delete(info.name)
            gone.append(info.name)
    return gone


def _age(modified: str | None) -> float:
    if modified is None:
        return 0.0
    return (datetime.now(UTC) - datetime.fromisoformat(modified)).total_seconds()
