"""Source bundles in the object store: handed over from service to service, never overwritten.

A name is used for one upload only (digest and fence), because putting an object again while it
is read leaves the reader hanging. Reading goes through the store's stream as any other reading does:
nats-py's own way would ask for the names of all streams, and stands still after an outage.
"""

# nats-py leaves the types of its keyword parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError, ObjectNotFoundError
from nats.js.object_store import ObjectStore

from libs.contracts.streams import SOURCES, Stream
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.reader import Replaced, read_until_now

_STORE = Stream(name=f"OBJ_{SOURCES.name}", subjects=(f"$O.{SOURCES.name}.>",), max_bytes=SOURCES.max_bytes)
_CHUNKS_AT_ONCE = 16  # of 128 KiB each


class BundleMissing(Exception):
    """No bundle of that name is kept."""


@dataclass(frozen=True)
class _Entry:
    name: str
    modified: datetime | None
    deleted: bool


async def put(bus: Bus, path: Path, digest: str, fence: int) -> str:
    """Stores the file; returns the name under which `get` finds it."""
    name = f"{digest}.{fence}"
    async with _store(bus) as store:
        try:
            await store.get_info(name)
        except ObjectNotFoundError:
            with path.open("rb") as source:
                await store.put(name, source)
    return name


async def get(bus: Bus, name: str, target: Path, *, patience: float = 60.0) -> None:
    """Writes the bundle to a file, checked against its digest; raises `BundleMissing` or `Unavailable`."""
    try:
        async with asyncio.timeout(patience), _store(bus) as store:
            try:
                info = await store.get_info(name)
            except ObjectNotFoundError:
                raise BundleMissing(name) from None
            with target.open("wb") as sink:
                digest = await _copy(bus, f"$O.{SOURCES.name}.C.{info.nuid}", sink)
    except TimeoutError:
        raise Unavailable(f"the bundle {name} was not read within {patience:g} s") from None
    if not name.startswith(digest):
        raise BundleMissing(f"{name}: it is not whole")


async def _copy(bus: Bus, subject: str, sink: IO[bytes]) -> str:
    """The sha256 of all that stands under the subject."""
    digest = hashlib.sha256()
    async with aclosing(read_until_now(bus, _STORE, [subject], batch=_CHUNKS_AT_ONCE)) as chunks:
        async for chunk in chunks:
            digest.update(chunk.data)
            await asyncio.to_thread(sink.write, chunk.data)
    return digest.hexdigest()


async def sweep(bus: Bus, keep: set[str], older_than: float) -> list[str]:
    """Deletes bundles that no kept release names and that are older than so many seconds; returns their names."""
    now = datetime.now(UTC)
    gone: list[str] = []
    async with _store(bus) as store:
        for entry in await _entries(bus):
            old = entry.modified is not None and (now - entry.modified).total_seconds() > older_than
            if old and not entry.deleted and entry.name not in keep:
                await store.delete(entry.name)
                gone.append(entry.name)
    return gone


async def _entries(bus: Bus) -> list[_Entry]:
    async with aclosing(read_until_now(bus, _STORE, [f"$O.{SOURCES.name}.M.*"])) as kept:
        return [_entry(json.loads(each.data)) async for each in kept]


def _entry(info: dict[str, Any]) -> _Entry:
    modified = info.get("mtime")
    return _Entry(
        name=str(info["name"]),
        modified=datetime.fromisoformat(modified) if modified else None,
        deleted=bool(info.get("deleted")),
    )


@asynccontextmanager
async def _store(bus: Bus) -> AsyncGenerator[ObjectStore]:
    """What NATS refuses or leaves unanswered inside is `Unavailable`."""
    try:
        yield await bus.jetstream.object_store(SOURCES.name)
    except ObjectNotFoundError:
        raise
    except (NatsError, NotFoundError, Replaced) as problem:
        raise Unavailable(f"the store of bundles does not answer: {problem!r}") from problem
