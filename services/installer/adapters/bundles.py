"""Bundles, in the object store of the bus."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import structlog

from libs.runtime.bus import bundles
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.states import States

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ObjectStoreBundles:
    """`grace` in seconds: longer than any install may take, so that no bundle goes before its release is recorded."""

    bus: Bus
    states: States
    grace: float
    every: float = 3600.0

    async def put(self, path: Path, digest: str, fence: int) -> str:
        return await bundles.put(self.bus, path, digest, fence)

    async def sweep_for_ever(self) -> None:
        """Deletes what no kept release names, now and then."""
        while True:
            try:
                kept = {tool.state.release.bundle for tool in await self.states.all() if tool.state is not None}
                for name in await bundles.sweep(self.bus, kept, self.grace):
                    log.info("bundle swept", bundle=name)
            except Unavailable as problem:
                log.warning("bundles not swept", problem=str(problem))
            await asyncio.sleep(self.every)
