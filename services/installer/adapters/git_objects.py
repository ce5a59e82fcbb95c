"""The contents of a repository's objects, one after another, out of one `git cat-file`.

GitPython has a reader too, but one that takes the rest of an abandoned object into memory, however large.
"""

import subprocess
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CHUNK = 1024 * 1024


class Stopped(Exception):
    """Somebody no longer wants the result."""


class Objects:
    """`stop` is looked at before every piece that is read."""

    def __init__(self, asks: IO[bytes], answers: IO[bytes], stop: Callable[[], bool]):
        self._asks = asks
        self._answers = answers
        self._stop = stop
        self._last: Content | None = None

    def open(self, key: bytes) -> "Content | None":
        """The object; None if there is none. What is left of the one before is passed over."""
        while self._last is not None and self._last.read(CHUNK):
            pass
        self._asks.write(key.hex().encode() + b"\n")
        self._asks.flush()
        answer = self._answers.readline()
        if not answer.endswith(b"\n"):
            raise EOFError("git cat-file ended instead of answering")
        words = answer.split()
        if len(words) != 3:
            return None
        self._last = Content(words[1].decode(), int(words[2]), int(words[2]), self._read)
        if self._last.left == 0:
            self._read(1)
        return self._last

    def _read(self, most: int) -> bytes:
        if self._stop():
            raise Stopped
        data = self._answers.read(most)
        if len(data) < most:
            raise EOFError("git cat-file ended in the middle of an object")
        return data


@dataclass
class Content:
    """An object's bytes, `left` of its `size` still to be read. `kind` is blob, tree, commit or tag."""

    kind: str
    size: int
    left: int
    _read: Callable[[int], bytes]

    def read(self, most: int) -> bytes:
        if self.left == 0:
            return b""
        data = self._read(min(most, self.left))
        self.left -= len(data)
        if self.left == 0:
            self._read(1)  # the line's end behind each object
        return data

    def read_all(self) -> bytes:
        """For objects whose size was looked at before."""
        return b"".join(iter(lambda: self.read(CHUNK), b""))


@contextmanager
def objects(repository: Path, environment: Mapping[str, str], stop: Callable[[], bool]) -> Generator[Objects]:
    """The objects of a repository; the process ends with the context, or when this one dies."""
    argv = ["git", f"--git-dir={repository}", "cat-file", "--batch"]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Objects(process.stdin, process.stdout, stop)
        finally:
            process.kill()
