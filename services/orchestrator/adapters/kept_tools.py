"""What is known of each tool, in its own folder: enough to know it by when all streams are lost.

`<tools>/<tool id>/releases/kept.json`, which goes with the releases when the tool is uninstalled.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from libs.contracts.envelope import Frozen
from libs.contracts.names import is_tool_id
from libs.contracts.tools import Tool
from libs.runtime import private_files
from services.orchestrator.ports import KeptFound, Unreadable

NAME = "kept.json"


class KeptTool(Frozen):
    """`tool` as its last record left it."""

    instance: str
    tool: Tool


@dataclass(frozen=True)
class DiskKeptTools:
    """Implements `ports.KeptTools`."""

    tools: Path
    instance: str

    async def put(self, tool: Tool) -> None:
        await asyncio.to_thread(self._put, tool)

    def _put(self, tool: Tool) -> None:
        releases = self.tools / tool.id / "releases"
        text = KeptTool(instance=self.instance, tool=tool).model_dump_json(indent=1)
        # A tool that was just uninstalled has no folder any more, and gets none.
        if releases.is_dir() and not _says(releases / NAME, text):
            try:
                private_files.write(releases / NAME, text)
            except FileNotFoundError:
                return

    async def forget(self, tool: str) -> None:
        await asyncio.to_thread((self.tools / tool / "releases" / NAME).unlink, missing_ok=True)

    async def all(self) -> KeptFound:
        return await asyncio.to_thread(self._all)

    def _all(self) -> KeptFound:
        kept: list[Tool] = []
        unreadable: list[Unreadable] = []
        for folder in self._folders():
            try:
                kept.append(self._read(folder))
            except (OSError, ValueError) as problem:
                unreadable.append(Unreadable(folder.name, str(folder), _reason(problem)))
        return KeptFound(tuple(kept), tuple(unreadable))

    def _folders(self) -> Iterator[Path]:
        """Those of tools that were not uninstalled."""
        found = sorted(self.tools.iterdir()) if self.tools.is_dir() else []
        yield from (each for each in found if is_tool_id(each.name) and (each / "releases").exists())

    def _read(self, folder: Path) -> Tool:
        """Raises `OSError` or `ValueError`."""
        file = folder / "releases" / NAME
        content = _content(file)
        if content is None:
            raise FileNotFoundError(file)
        found = KeptTool.model_validate_json(content)
        if found.tool.id != folder.name:
            raise ValueError(f"it tells of the tool {found.tool.id!r}, which belongs elsewhere")
        if found.instance != self.instance:
            raise ValueError(f"it belongs to the MACHETE {found.instance!r}, and this is {self.instance!r}")
        return found.tool


def _says(file: Path, text: str) -> bool:
    """Whether there is nothing to be written. What stands there and cannot be read is put right with that."""
    try:
        return _content(file) == text.encode()
    except OSError:
        return False


def _content(file: Path) -> bytes | None:
    """Raises `OSError`, also for what is no file, or a link to one: whoever reads that may never come back."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as opened:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, f"{NAME} is no file")
        return opened.read()


def _reason(problem: Exception) -> str:
    if isinstance(problem, ValidationError):
        first = problem.errors(include_url=False, include_input=False)[0]
        return f"{NAME}: {'.'.join(map(str, first['loc'])) or 'all of it'}: {first['msg']}"
    return f"{NAME} is missing" if isinstance(problem, FileNotFoundError) else str(problem)
