"""What is kept of a tool in its folder, where something else stands in its place."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from services.orchestrator.adapters.kept_tools import DiskKeptTools
from tests.bus.sketch import tool

INSTANCE = "abcdefgh"
LATHE = tool("lathe-abcdef", "lathe")


def _torn(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")


def _half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def _endless(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("damage", [_torn, _half, _endless, _pipe])
async def test_what_cannot_be_read_is_named_and_is_written_anew_with_the_next_record(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    kept = DiskKeptTools(tmp_path, INSTANCE)
    file = tmp_path / LATHE.id / "releases" / "kept.json"
    file.parent.mkdir(parents=True)
    await kept.put(LATHE)
    damage(file)
    async with asyncio.timeout(30):
        found = await kept.all()
        assert (found.tools, [each.tool for each in found.unreadable]) == ((), [LATHE.id])
        await kept.put(LATHE)
        assert await kept.all() == type(found)((LATHE,), ())
