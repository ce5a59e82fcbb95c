"""Files that hold secrets: for their owner alone from the first moment on, whole or not there, no link followed.

Standard library only: what sets a machine up writes such files too.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

OWNER_ALONE = 0o600
# Characters read at most: a link may lead to what has no end.
LONGEST = 65536


def new(path: Path) -> TextIO:
    """A new, empty file, to be written. Raises `FileExistsError` whatever stands there already, a link included."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, OWNER_ALONE)
    # The umask may have taken away what its owner needs.
    os.fchmod(handle, OWNER_ALONE)
    return os.fdopen(handle, "w", encoding="utf-8")


def write(path: Path, text: str) -> None:
    """In the place of whatever file is there, and whoever may read that one. A link is replaced, not followed."""
    with _drafted(path, text) as draft:
        draft.replace(path)


def make(path: Path, text: str) -> bool:
    """Only if nothing stands there. False: something does, a link perhaps; of many at once, one makes it."""
    with _drafted(path, text) as draft:
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
    return True


def read(path: Path) -> tuple[str, int]:
    """What it says, and its permission bits: both of the same file, whatever is put in its place meanwhile.

    A link is followed: a file that somebody gave may be one. What is no UTF-8 comes as `\\x..`. Raises `OSError`.
    """
    with path.open(encoding="utf-8", errors="backslashreplace") as file:
        return file.read(LONGEST), stat.S_IMODE(os.fstat(file.fileno()).st_mode)


def is_private(path: Path) -> bool:
    """A file, not a link to one, that nobody but its owner may use."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    return stat.S_ISREG(mode) and not mode & 0o077


@contextmanager
def _drafted(path: Path, text: str) -> Generator[Path]:
    """All of it, on the disk, under another name in the same folder, which is gone afterwards."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with new(draft) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
