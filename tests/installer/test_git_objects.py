"""What Git was killed over is not read as if it were whole."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from services.installer.adapters.git_objects import Objects, objects
from tests.support.git_repos import commit_files
from tests.support.processes import until

LARGE = b"services:\n" + b"# a line of a Compose file\n" * 100_000


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    bare = tmp_path / "repository.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(bare)], check=True)
    commit_files(bare, {"compose.yaml": LARGE, "empty": b""}, "main")
    return bare


def key_of(repository: Path, file: str) -> bytes:
    said = subprocess.run(
        ["git", f"--git-dir={repository}", "rev-parse", f"main:{file}"], check=True, capture_output=True, text=True
    )
    return bytes.fromhex(said.stdout.strip())


def reader_of(repository: Path) -> list[int]:
    """The `git cat-file` that reads it."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        try:
            argv = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"cat-file" in argv and str(repository).encode() in argv:
            found.append(int(entry.name))
    return found


async def kill(repository: Path) -> None:
    """Returns when it is dead."""
    await until(lambda: bool(reader_of(repository)))
    for pid in reader_of(repository):
        os.kill(pid, signal.SIGKILL)
    await until(lambda: not reader_of(repository))


def opened(contents: Objects, repository: Path, file: str):
    content = contents.open(key_of(repository, file))
    assert content is not None
    return content


async def test_contents_are_read_whole(repository: Path) -> None:
    with objects(repository, os.environ, lambda: False) as contents:
        assert opened(contents, repository, "empty").read_all() == b""
        assert opened(contents, repository, "compose.yaml").read(2 * len(LARGE)) == LARGE
        assert contents.open(bytes(20)) is None


async def test_a_content_that_git_was_killed_over_is_no_shorter_content(repository: Path) -> None:
    with objects(repository, os.environ, lambda: False) as contents:
        content = opened(contents, repository, "compose.yaml")
        assert content.read(1000) == LARGE[:1000]
        await kill(repository)
        with pytest.raises(EOFError):
            content.read(2 * len(LARGE))


async def test_an_object_that_git_was_killed_before_is_not_one_that_there_is_not(repository: Path) -> None:
    with pytest.raises((EOFError, BrokenPipeError)):
        await read_without_git(repository)


async def read_without_git(repository: Path) -> None:
    with objects(repository, os.environ, lambda: False) as contents:
        await kill(repository)
        contents.open(bytes(20))
