"""That Compose could not look at a file is not said of the file."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from libs.contracts.problems import Failure
from libs.runtime.children import Children
from services.orchestrator.adapters.compose import Compose, Project
from services.orchestrator.adapters.engine import Engine
from services.orchestrator.ports import always
from tests.chaos.harness.disks import filled, small_disk
from tests.engine.conftest import eventually

PAGE = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Generator[Path]:
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def a_project(folder: Path) -> Project:
    """What Compose makes of it takes some pages."""
    folder.mkdir()
    service = {"image": "none", "environment": {f"NAME_{number}": "x" * 100 for number in range(200)}}
    (folder / "compose.yaml").write_text(json.dumps({"services": {"web": service}}))
    return Project("full", folder, folder / "compose.yaml")


async def silence(_: list[str]) -> None:
    return None


@pytest.mark.parametrize("room", [0, PAGE, 2 * PAGE, 4 * PAGE])
async def test_on_a_full_disk_a_file_is_not_called_invalid(engine: Engine, disk: Path, tmp_path: Path, room: int):
    """How much room is left decides who runs out of it: the platform itself, or Compose."""
    project = a_project(tmp_path / "source")
    compose = Compose(engine, Children(), disk / "home")
    (disk / "home").mkdir()
    spare = disk / "spare"
    spare.write_bytes(b"x" * room)
    with filled(disk):
        spare.unlink()
        with pytest.raises((Failure, OSError)) as told:
            await compose.config(project, tmp_path / "source", {"A": "b"}, silence, always)
    problem = told.value
    assert problem.errno == errno.ENOSPC if isinstance(problem, OSError) else problem.problem.code == "disk_full"
    config = await compose.config(project, tmp_path / "source", {"A": "b"}, silence, always)
    assert list(config["services"]) == ["web"]


async def test_where_compose_was_killed_the_file_is_not_called_invalid(engine: Engine, tmp_path: Path):
    folder = tmp_path / "source"
    folder.mkdir()
    os.mkfifo(folder / "compose.yaml")  # nobody writes to it, so Compose reads for ever
    project = Project("killed", folder, folder / "compose.yaml")
    compose = Compose(engine, Children(), tmp_path / "home")
    reading = asyncio.ensure_future(compose.config(project, folder, {}, silence, always))
    pids: list[int] = []

    def is_reading() -> bool:
        pids[:] = [pid for pid, argv in commands() if str(project.file) in argv and "watchdog.py" not in argv]
        return bool(pids)

    await eventually(is_reading, 20)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(Failure) as told:
        await reading
    assert told.value.problem.code == "compose_killed"
    assert "signal 9" in told.value.problem.message


def commands() -> Iterator[tuple[int, str]]:
    """All processes that there are."""
    for entry in Path("/proc").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            if entry.name.isdigit():
                yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
