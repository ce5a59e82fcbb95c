"""The tools' folders: what a tool makes of its own does not keep anybody from removing it."""

import errno
import os
import tarfile
import threading
from pathlib import Path
from typing import cast

import pytest

from libs.runtime.bus.connection import Bus
from libs.runtime.children import Children
from services.orchestrator.adapters.workshop import DiskWorkshop
from tests.bus import sketch

TOOL = "web-abc234"
DEPTH = 3000


@pytest.fixture
def workshop(tmp_path: Path) -> DiskWorkshop:
    return DiskWorkshop(cast(Bus, None), tmp_path / "tools", Children())


def filled(workshop: DiskWorkshop) -> Path:
    folder = workshop.tools / TOOL
    (folder / "data").mkdir(parents=True)
    (folder / "releases" / "r1").mkdir(parents=True)
    return folder


def go_down(folder: Path, depth: int) -> None:
    """Deeper than any path is long, as a program in a container can."""
    here = os.open(folder, os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("x", dir_fd=here)
        below = os.open("x", os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


@pytest.mark.parametrize("data", [True, False])
async def test_folders_of_any_depth_are_looked_through_and_removed(workshop: DiskWorkshop, data: bool):
    folder = filled(workshop)
    go_down(folder / "data", DEPTH)
    assert await workshop.remove(TOOL, data=data) is None
    assert not folder.exists(), "there was no file in it to keep"


async def test_files_of_a_tool_stay_unless_its_data_is_to_go(workshop: DiskWorkshop):
    folder = filled(workshop)
    (folder / "data" / "kept").write_text("kept")
    assert await workshop.remove(TOOL, data=False) == folder / "data"
    assert (folder / "data" / "kept").read_text() == "kept"
    assert not (folder / "releases").exists()
    await workshop.remove(TOOL, data=True)
    assert not folder.exists()


async def test_what_a_link_leads_to_is_not_removed(workshop: DiskWorkshop, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    (filled(workshop) / "data" / "link").symlink_to(outside)
    await workshop.remove(TOOL, data=True)
    assert (outside / "precious").read_text() == "precious"


async def test_what_is_not_there_is_removed_already(workshop: DiskWorkshop):
    await workshop.remove(TOOL, data=True)


async def test_what_was_being_unpacked_by_somebody_who_was_killed_is_cleared_away_by_the_next(
    workshop: DiskWorkshop, monkeypatch: pytest.MonkeyPatch
):
    async def get(bus: Bus, name: str, to: Path) -> None:
        with tarfile.open(to, "w:gz") as archive:
            archive.add(__file__, "file")

    monkeypatch.setattr("libs.runtime.bus.bundles.get", get)
    tool = sketch.tool("web-abcdef", "web")
    folder = workshop.tools / tool.id / "releases" / tool.release.id
    (folder / ".source.half" / "deep").mkdir(parents=True)
    (folder / ".source.half" / "deep" / "file").write_text("half")
    (folder / ".bundle.half").write_text("half")
    (folder / "compose.json").write_text("{}")
    assert [path.name for path in (await workshop.source(tool)).iterdir()] == ["file"]
    assert sorted(path.name for path in folder.iterdir()) == ["compose.json", "source"]


async def test_a_disk_without_room_for_a_rename_keeps_nothing_from_being_removed(
    workshop: DiskWorkshop, monkeypatch: pytest.MonkeyPatch
):
    folder = filled(workshop)
    (folder / "releases" / "r1" / "source" / "deep").mkdir(parents=True)
    tried: list[bool] = []

    def rename(_: Path, __: Path) -> Path:
        tried.append(threading.current_thread() is not threading.main_thread())
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "rename", rename)
    await workshop.remove(TOOL, data=True)
    assert tried == [True], "and nobody waits for the disk"
    assert not folder.exists()


async def test_a_source_whose_removal_was_cut_off_is_not_taken_for_a_whole_one(
    workshop: DiskWorkshop, monkeypatch: pytest.MonkeyPatch
):
    async def get(bus: Bus, name: str, to: Path) -> None:
        with tarfile.open(to, "w:gz") as archive:
            archive.add(__file__, "file")

    async def cut_off(_: DiskWorkshop, *argv: str) -> str:
        raise RuntimeError("ended in the middle of it")

    monkeypatch.setattr("libs.runtime.bus.bundles.get", get)
    tool = sketch.tool("web-abcdef", "web")
    folder = workshop.tools / tool.id / "releases" / tool.release.id
    (folder / "source" / "left").mkdir(parents=True)
    with monkeypatch.context() as context:
        context.setattr(DiskWorkshop, "_tell", cut_off)
        with pytest.raises(RuntimeError):
            await workshop.remove(tool.id, data=True)
    assert [path.name for path in (await workshop.source(tool)).iterdir()] == ["file"]
    assert [path.name for path in folder.iterdir()] == ["source"]
