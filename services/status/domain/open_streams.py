"""How many live connections and logs each who asks has open here: everybody's come out of the same process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager


class TooManyOpen(Exception):
    """As many as one may have; the text says how many, and whose."""


class OpenStreams:
    """`most` is how many each may have at a time, in this process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = Counter[str]()

    @contextmanager
    def held(self, by: str) -> Generator[None]:
        """One more, until this is left. Raises `TooManyOpen`."""
        if self._open[by] >= self._most:
            raise TooManyOpen(f"{by} has {self._most} live connections and logs open, which is as many as one may have")
        self._open[by] += 1
        try:
            yield
        finally:
            self._open[by] -= 1
            if not self._open[by]:
                del self._open[by]
