"""Small disks, to be filled. Needs root."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

SIZE = 16 * 1024 * 1024
BLOCK = bytes(256 * 1024)


@contextmanager
def small_disk(folder: Path, size: int = SIZE) -> Generator[Path]:
    """A file system in memory of so many bytes, mounted there; gone afterwards, whoever still looks into it."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "harness", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(disk: Path) -> Generator[None]:
    """Not a byte is free inside the block."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (len(BLOCK), 4096):
            _fill(file.write, BLOCK[:size])
    try:
        yield
    finally:
        ballast.unlink()


def _fill(write, block: bytes) -> None:
    while True:
        try:
            write(block)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return
