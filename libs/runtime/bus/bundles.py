"""Source bundles in the object store: handed over from service to service, never overwritten.

A name is used for one upload only (digest and fence), because putting an object again while it
is read leaves the reader hanging.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError, ObjectNotFoundError

from libs.contracts.streams import SOURCES
from libs.runtime.bus.connection import Bus, Unavailable


class BundleMissing(Exception):
    """No bundle of that name is kept."""


async def put(bus: Bus, path: Path, digest: str, fence: int) -> str:
    """Stores the file; returns the name under which `get` finds it. Raises `Unavailable`."""
    name = f"{digest}.{fence}"
    with _told():
        store = await bus.jetstream.object_store(SOURCES.name)
        try:
            await store.get_info(name)
        except (NotFoundError, ObjectNotFoundError):
            with path.open("rb") as source:
                await store.put(name, source)
    return name


async def get(bus: Bus, name: str, target: Path, *, patience: float = 60.0) -> None:
    """Writes the bundle to a file, checked against its digest; raises `BundleMissing` or `Unavailable`."""
    with _told(), target.open("wb") as sink:
        store = await bus.jetstream.object_store(SOURCES.name)
        try:
            async with asyncio.timeout(patience):
                await store.get(name, writeinto=sink)  # pyright: ignore[reportArgumentType]
        except (NotFoundError, ObjectNotFoundError):
            raise BundleMissing(name) from None


async def sweep(bus: Bus, keep: set[str], older_than: float) -> list[str]:
    """Deletes bundles that no kept release names and that are older than so many seconds; returns their names."""
    gone: list[str] = []
    with _told():
        store = await bus.jetstream.object_store(SOURCES.name)
        try:
            kept = await store.list()
        except (NotFoundError, ObjectNotFoundError):
            return gone
        for info in kept:
            if info.name not in keep and _age(info.mtime) > older_than:
                await store.delete(info.name)
                gone.append(info.name)
    return gone


@contextmanager
def _told() -> Generator[None]:
    try:
        yield
    except (NatsError, TimeoutError) as problem:
        raise Unavailable(f"the object store does not answer: {problem!r}") from problem


def _age(modified: str | None) -> float:
    if modified is None:
        return 0.0
    return (datetime.now(UTC) - datetime.fromisoformat(modified)).total_seconds()
