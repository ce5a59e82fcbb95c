"""The folders of the tools: `<tools>/<tool id>/releases/<release id>/` and, beside them, `data/`."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from libs.contracts.tools import Tool
from libs.runtime.bus import bundles
from libs.runtime.bus.connection import Bus
from services.orchestrator.adapters.bundles import unpack
from services.orchestrator.domain.failures import Failure


@dataclass(frozen=True)
class DiskWorkshop:
    bus: Bus
    tools: Path

    async def source(self, tool: Tool) -> Path:
        folder = self._release(tool) / "source"
        if folder.exists():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".bundle.", dir=folder.parent)
        os.close(handle)
        bundle = Path(name)
        try:
            await bundles.get(self.bus, tool.release.bundle, bundle)
            await asyncio.to_thread(unpack, bundle, folder)
        except bundles.BundleMissing:
            raise Failure(
                "bundle_missing", f"The source of {tool.name} at {tool.release.commit[:12]} is not kept: install it again."
            ) from None
        finally:
            bundle.unlink(missing_ok=True)
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


def _has_files(folder: Path) -> bool:
    return folder.exists() and any(path.is_file() or path.is_symlink() for path in folder.rglob("*"))
