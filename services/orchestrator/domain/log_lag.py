"""How far behind a container the reading of its log is. Decided from times alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Lag:
    """Times in nanoseconds since 1970. `began` is when reading began: what was printed before lies still, and waits.

    The engine's clock may be another one than ours: the least difference seen so far counts as none.
    """

    began: int
    _least: int | None = None

    def is_live(self, printed: int) -> bool:
        return printed >= self.began

    def of(self, printed: int, now: int) -> int:
        """Of the newest line read, in nanoseconds."""
        if not self.is_live(printed):
            return 0
        difference = now - printed
        self._least = difference if self._least is None else min(self._least, difference)
        return difference - self._least
