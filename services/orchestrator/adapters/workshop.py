"""The folders of the tools: `<tools>/<tool id>/releases/<release id>/` and, beside them, `data/`."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from libs.contracts.problems import Failure
from libs.contracts.tools import Tool
from libs.runtime.bus import bundles
from libs.runtime.bus.connection import Bus
from services.orchestrator.adapters.bundles import unpack


@dataclass(frozen=True)
class DiskWorkshop:
    bus: Bus
    tools: Path

    async def source(self, tool: Tool) -> Path:
        folder = self._release(tool) / "source"
        if folder.exists():
            return folder
        with _scratch_file(folder.parent) as bundle:
            try:
                await bundles.get(self.bus, tool.release.bundle, bundle)
            except bundles.BundleMissing:
                commit = tool.release.commit[:12]
                raise Failure(
                    "bundle_missing", f"The source of {tool.name} at {commit} is not kept any more: install it again."
                ) from None
            await asyncio.to_thread(unpack, bundle, folder)
        return folder

    async def keep(self, tool: Tool) -> None:
        target = self._release(tool) / "tool.json"
        working = target.with_suffix(".new")
        working.write_text(tool.model_dump_json(indent=2))
        working.replace(target)

    async def remove(self, tool: str, *, data: bool) -> None:
        folder = self.tools / tool
        gone = folder if data or not _has_files(folder / "data") else folder / "releases"
        if gone.exists():
            await asyncio.to_thread(shutil.rmtree, gone)

    def _release(self, tool: Tool) -> Path:
        return self.tools / tool.id / "releases" / tool.release.id


@contextmanager
def _scratch_file(folder: Path) -> Generator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".bundle.", dir=folder)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _has_files(folder: Path) -> bool:
    return folder.exists() and any(path.is_file() or path.is_symlink() for path in folder.rglob("*"))
