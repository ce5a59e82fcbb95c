"""Folders to work in that do not outlive the work, nor, for longer than until the next start, a killed platform."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "fetch-"
_LOCK = "lock"


@contextmanager
def work_folder(root: Path) -> Generator[Path]:
    """A new empty folder below `root`, gone afterwards. While its owner lives, it holds a lock that says so."""
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
    try:
        with _locked(folder):
            yield folder
    finally:
        _remove(folder)


def sweep(root: Path) -> int:
    """Removes what killed owners left behind, and nothing that somebody works in; returns how many folders."""
    swept = 0
    for folder in sorted(root.glob(f"{_PREFIX}*")) if root.is_dir() else []:
        with suppress(BlockingIOError, FileNotFoundError), _locked(folder):
            _remove(folder)
            swept += 1
    return swept


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Holds the folder's lock; raises BlockingIOError if somebody else does. The lock ends with the process."""
    handle = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
