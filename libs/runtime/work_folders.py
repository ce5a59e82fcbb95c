"""Folders to work in that do not outlive the work, nor, for longer than until the next sweep, a killed process."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def work_folder(root: Path, prefix: str) -> Generator[Path]:
    """A new folder below `root`, gone afterwards. While its owner lives, it is locked, which says so."""
    root.mkdir(parents=True, exist_ok=True)
    folder, lock = _new(root, prefix)
    try:
        yield folder
    finally:
        _remove(folder, lock)


def sweep(root: Path, prefix: str) -> int:
    """Removes what killed owners left behind, and nothing that somebody works in; returns how many folders."""
    swept = 0
    for folder in sorted(root.glob(f"{prefix}*")) if root.is_dir() else []:
        with suppress(BlockingIOError, FileNotFoundError):
            _remove(folder, _locked(folder))
            swept += 1
    return swept


def _new(root: Path, prefix: str) -> tuple[Path, int]:
    """Another one, where somebody swept it in the moment before it was locked."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
        with suppress(BlockingIOError, FileNotFoundError):
            return folder, _locked(folder)


def _locked(folder: Path) -> int:
    """The folder itself, locked until it is closed or the process ends.

    Raises BlockingIOError if somebody else has locked it, and FileNotFoundError if it is gone.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(handle).st_nlink:
            raise FileNotFoundError(f"{folder} was removed by who had locked it before")
    except OSError:
        os.close(handle)
        raise
    return handle


def _remove(folder: Path, lock: int) -> None:
    try:
        if folder.exists():
            shutil.rmtree(folder)
    finally:
        os.close(lock)
