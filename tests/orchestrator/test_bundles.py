import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from services.orchestrator.adapters.bundles import unpack
from services.orchestrator.domain.failures import BundleRefused

FILE, FOLDER, LINK, HARD_LINK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE

Entry = tuple[str, bytes, str]  # name, type, and what a file holds or a link leads to


def file(name: str, content: str = "content") -> Entry:
    return name, FILE, content


def bundle(folder: Path, *entries: Entry, mode: int = 0o644) -> Path:
    path = folder / "bundle.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, kind, content in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kind, mode
            if kind == FILE:
                entry.size = len(content.encode())
                archive.addfile(entry, io.BytesIO(content.encode()))
            else:
                entry.linkname = content
                archive.addfile(entry)
    return path


def refused(folder: Path, *entries: Entry) -> str:
    """The reason, after a look that nothing was left."""
    target = folder / "release" / "source"
    with pytest.raises(BundleRefused) as refusal:
        unpack(bundle(folder, *entries), target)
    assert refusal.value.code == "bundle_refused"
    assert os.listdir(target.parent) == []
    assert sorted(os.listdir(folder)) == ["bundle.tar.gz", "release"]
    return refusal.value.message


def test_a_repository_comes_out_as_it_went_in(tmp_path: Path):
    entries = (
        ("src", FOLDER, ""),
        file("src/main.py", "print()"),
        file("deep/er/file", "ü"),
        ("current", LINK, "src/main.py"),
        ("src/up", LINK, "../deep"),
        ("dangling", LINK, "not/there"),
        ("twin", HARD_LINK, "src/main.py"),
    )
    unpack(bundle(tmp_path, *entries), tmp_path / "out")
    assert (tmp_path / "out/current").read_text() == "print()"
    assert (tmp_path / "out/src/up/er/file").read_text() == "ü"
    assert (tmp_path / "out/twin").read_text() == "print()"
    assert os.readlink(tmp_path / "out/dangling") == "not/there"


def test_only_the_right_to_execute_is_taken_over(tmp_path: Path):
    unpack(bundle(tmp_path, file("a"), mode=0o4777), tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out/a").stat().st_mode) == 0o755
    assert (tmp_path / "out/a").stat().st_uid == os.getuid()


def test_a_bundle_unpacked_before_stays_as_it_is(tmp_path: Path):
    unpack(bundle(tmp_path, file("a", "first")), tmp_path / "out")
    unpack(bundle(tmp_path, file("a", "second")), tmp_path / "out")
    assert (tmp_path / "out/a").read_text() == "first"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "..", "a/.."])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str):
    assert "leads out" in refused(tmp_path, file("good"), file(name))


@pytest.mark.parametrize("link", ["/etc/passwd", "../../outside", "..", "a/../../x"])
def test_a_link_that_leads_out_is_refused(tmp_path: Path, link: str):
    assert "link out of it" in refused(tmp_path, ("link", LINK, link))


def test_links_that_lead_out_only_through_one_another_are_refused(tmp_path: Path):
    top = ("p/q/top", LINK, "../..")
    assert "link out of it" in refused(tmp_path, top, ("out", LINK, "p/q/top/.."))


def test_nothing_is_written_through_a_link(tmp_path: Path):
    assert "no folder" in refused(tmp_path, ("folder", FOLDER, ""), ("link", LINK, "folder"), file("link/file"))


def test_a_file_cannot_take_the_place_of_a_link(tmp_path: Path):
    assert "twice" in refused(tmp_path, file("a"), ("link", LINK, "a"), file("link"))


@pytest.mark.parametrize("original", ["../outside", "/etc/passwd", "missing", "link"])
def test_a_hard_link_to_anything_but_a_file_of_the_bundle_is_refused(tmp_path: Path, original: str):
    refused(tmp_path, file("a"), ("link", LINK, "a"), ("hard", HARD_LINK, original))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(tmp_path: Path, kind: bytes):
    assert "neither a file" in refused(tmp_path, ("device", kind, ""))


def test_a_name_too_long_for_the_disk_is_refused(tmp_path: Path):
    assert "too long" in refused(tmp_path, file("a" * 300))


def test_a_bomb_is_refused_before_it_is_written(tmp_path: Path):
    path = bundle(tmp_path, file("zeros", "0" * 10_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(BundleRefused, match="more than 1000000 bytes"):
        unpack(path, tmp_path / "out", most_bytes=1_000_000)
    with pytest.raises(BundleRefused, match="more than 2 files"):
        unpack(bundle(tmp_path, file("a"), file("b"), file("c")), tmp_path / "out", most_entries=2)
    assert os.listdir(tmp_path) == ["bundle.tar.gz"]


@pytest.mark.parametrize("cut", [0, 20, 60])
def test_a_broken_bundle_leaves_nothing(tmp_path: Path, cut: int):
    path = bundle(tmp_path, file("a", "x" * 1000))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BundleRefused, match="cannot be read"):
        unpack(path, tmp_path / "out")
    assert os.listdir(tmp_path) == ["bundle.tar.gz"]
