"""The folders of the tools: `<tools>/<tool id>/releases/<release id>/` and, beside them, `data/`."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from libs.contracts.names import random_word
from libs.contracts.problems import Failure
from libs.contracts.tools import Tool
from libs.runtime.bus import bundles
from libs.runtime.bus.connection import Bus
from libs.runtime.children import Children
from libs.runtime.logging import get_logger
from services.orchestrator.adapters.bundles import unpack

log = get_logger(__name__)


@dataclass(frozen=True)
class DiskWorkshop:
    bus: Bus
    tools: Path
    children: Children

    async def source(self, tool: Tool) -> Path:
        folder = self._release(tool) / "source"
        if folder.exists():
            return folder
        await self._clear(folder.parent)
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

    async def remove(self, tool: str, *, data: bool) -> Path | None:
        """By programs that go down any depth and follow no link: what lies there is the tool's doing."""
        folder = self.tools / tool
        await asyncio.to_thread(_take_apart, folder / "releases")
        keeps = not data and (folder / "data").exists() and await self._has_files(folder / "data")
        await self._tell("rm", "-rf", "--", str(folder / "releases" if keeps else folder))
        return folder / "data" if keeps else None

    async def _clear(self, folder: Path) -> None:
        """What somebody left who was killed while he was about it: only one at a time is at work on a tool."""
        if left := _half_made(folder):
            await self._tell("rm", "-rf", "--", *left)

    async def _has_files(self, folder: Path) -> bool:
        return bool(await self._tell("find", str(folder), "!", "-type", "d", "-print", "-quit"))

    async def _tell(self, *argv: str) -> str:
        code, said = await self.children.output(argv, env={"PATH": os.defpath, "LC_ALL": "C"})
        if code != 0:
            raise Failure("folder_not_removed", f"{argv[0]} ended with exit code {code}: {said.strip()[-300:]}")
        return said

    def _release(self, tool: Tool) -> Path:
        return self.tools / tool.id / "releases" / tool.release.id


def _take_apart(releases: Path) -> None:
    """Removing takes time and may be cut off: what is left then must not be taken for a source that is whole.

    A rename may need room, which only the removing makes.
    """
    try:
        for source in releases.glob("*/source"):
            source.rename(source.with_name(f".source.{random_word(8)}"))
    except OSError as problem:
        log.debug("a source is removed under its own name", folder=str(releases), problem=str(problem))


def _half_made(folder: Path) -> list[str]:
    return [str(path) for word in (".bundle.*", ".source.*") for path in folder.glob(word)]


@contextmanager
def _scratch_file(folder: Path) -> Generator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".bundle.", dir=folder)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
