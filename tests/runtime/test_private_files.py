"""Files that hold secrets are never open to others, never half written, and never written through a link."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from libs.runtime import private_files

LONG = 200_000


@contextmanager
def umask(mask: int) -> Generator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def bits(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secret"


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of somebody else's, in a folder of its own."""
    file = tmp_path_factory.mktemp("elsewhere") / "theirs"
    file.write_text("theirs")
    file.chmod(0o644)
    return file


WAYS: dict[str, Callable[[Path, str], object]] = {"write": private_files.write, "make": private_files.make}
both_ways = pytest.mark.parametrize("put", WAYS.values(), ids=WAYS)


@both_ways
@pytest.mark.parametrize("mask", [0, 0o022, 0o277, 0o777])
def test_its_owner_may_read_and_write_it_and_nobody_else_whatever_the_umask(
    path: Path, put: Callable[[Path, str], object], mask: int
):
    with umask(mask):
        put(path, "kept\n")
    assert (bits(path), path.read_text()) == (0o600, "kept\n")
    assert os.listdir(path.parent) == ["secret"]


def test_whoever_looks_while_it_is_written_again_and_again_finds_a_whole_one_and_none_open_to_others(path: Path):
    texts = ["a" * LONG, "b" * LONG]
    stop = threading.Event()

    def write() -> None:
        for turn in range(200):
            private_files.write(path, texts[turn % 2])
        stop.set()

    private_files.write(path, texts[0])
    found: set[str] = set()
    modes: set[int] = set()
    with umask(0):
        writer = threading.Thread(target=write)
        writer.start()
        while not stop.is_set():
            found.add(path.read_text())
            for entry in os.scandir(path.parent):
                try:
                    modes.add(stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode))
                except FileNotFoundError:
                    continue
        writer.join()
    assert found == set(texts)
    assert modes == {0o600}


def test_of_many_who_make_it_at_once_one_does_and_all_find_that_one(path: Path):
    texts = [f"{number}" * 10_000 for number in range(20)]
    with ThreadPoolExecutor(len(texts)) as pool:
        made = list(pool.map(lambda text: private_files.make(path, text), texts))
    assert made.count(True) == 1
    assert path.read_text() == texts[made.index(True)]
    assert os.listdir(path.parent) == ["secret"]


def test_of_many_who_write_it_at_once_one_is_the_last_and_nothing_is_left_of_the_others(path: Path):
    texts = [f"{number}" * 10_000 for number in range(20)]
    with ThreadPoolExecutor(len(texts)) as pool:
        list(pool.map(lambda text: private_files.write(path, text), texts))
    assert path.read_text() in texts
    assert os.listdir(path.parent) == ["secret"]


def test_one_that_others_may_read_is_replaced_also_for_those_who_have_it_open(path: Path):
    path.write_text("old")
    path.chmod(0o666)
    with path.open() as opened:
        private_files.write(path, "new")
        assert opened.read() == "old"
    assert (bits(path), path.read_text()) == (0o600, "new")


def test_what_is_there_is_not_made_again(path: Path):
    private_files.write(path, "first")
    assert not private_files.make(path, "second")
    assert path.read_text() == "first"
    with pytest.raises(FileExistsError):
        private_files.new(path)


def test_a_link_in_its_place_is_replaced_and_what_it_leads_to_stays(path: Path, elsewhere: Path):
    path.symlink_to(elsewhere)
    private_files.write(path, "ours")
    assert (path.is_symlink(), path.read_text(), bits(path)) == (False, "ours", 0o600)
    assert (elsewhere.read_text(), bits(elsewhere)) == ("theirs", 0o644)


def test_through_a_link_that_leads_nowhere_nothing_is_made(path: Path, elsewhere: Path):
    nowhere = elsewhere.with_name("nowhere")
    path.symlink_to(nowhere)
    assert not private_files.make(path, "ours")
    with pytest.raises(FileExistsError):
        private_files.new(path)
    assert not nowhere.exists()
    private_files.write(path, "ours")
    assert not nowhere.exists()


@both_ways
def test_one_that_cannot_be_written_leaves_nothing_behind(path: Path, put: Callable[[Path, str], object]):
    path.mkdir()
    try:
        done = put(path, "ours")
    except OSError:
        done = False
    assert not done
    assert os.listdir(path.parent) == ["secret"]
    assert os.listdir(path) == []


def test_what_it_says_and_who_may_use_it_are_read_together(path: Path):
    path.write_bytes(b"caf\xe9\n")
    path.chmod(0o640)
    assert private_files.read(path) == ("caf\\xe9\n", 0o640)
    with pytest.raises(FileNotFoundError):
        private_files.read(path.with_name("none"))
    path.unlink()
    path.symlink_to("/dev/zero")
    assert len(private_files.read(path)[0]) == private_files.LONGEST


@pytest.mark.parametrize(("mode", "private"), [(0o600, True), (0o400, True), (0o640, False), (0o604, False)])
def test_a_file_is_private_if_its_owner_alone_may_use_it(path: Path, mode: int, private: bool):
    assert not private_files.is_private(path)
    path.write_text("x")
    path.chmod(mode)
    assert private_files.is_private(path) is private


def test_a_link_is_not_private_whatever_it_leads_to(path: Path, elsewhere: Path):
    elsewhere.chmod(0o600)
    path.symlink_to(elsewhere)
    assert not private_files.is_private(path)
