"""How far behind a container the reading of its log is, and what comes of it. Decided from times alone."""

from __future__ import annotations

from dataclasses import dataclass

from services.orchestrator.domain.log_frames import Leap

MILLISECOND = 1_000_000
# What an engine leaves out is a whole file at least. None prints one in less than this; and looking again costs an
# engine too much to do it for ever where nothing was missing.
LEAST_LEAP, MOST_LEAP = 100 * MILLISECOND, 1000 * MILLISECOND
# Bytes read late, one after another, before anything can have been left out: as many lie on the way from the engine.
ON_THE_WAY = 64 * 1024
# Nothing came for so long: what comes next was printed next. Where lines are left out, others come without a pause.
QUIET = 1000 * MILLISECOND


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


@dataclass
class Leaps:
    """Whether an engine left out lines: one that rotates the log twice while a follower is busy with a file goes on
    with the newest file, and says nothing. What comes without a pause, is late, and then leaps, may lack some; reading
    again from where it leapt tells, and brings what the engine still has. Times in nanoseconds, all by one clock.
    """

    _opened: int = 0
    _came: int = 0
    _late: int = 0
    _least: int = LEAST_LEAP

    def opened(self, now: int) -> None:
        """All that was printed until now is read whole: only what follows is followed."""
        self._opened, self._came, self._late = now, now, 0

    def suspected(self, now: int) -> Leap | None:
        """In what comes now."""
        if now - self._came >= QUIET:
            self._late = 0
        return Leap(self._opened, self._least) if self._late >= ON_THE_WAY else None

    def came(self, size: int, printed: int, now: int) -> None:
        """So many bytes, the newest line of which was printed then. What was there before the beginning is not late."""
        self._came = now
        self._late = self._late + size if printed >= self._opened and now - printed >= LEAST_LEAP else 0

    def turned_out(self, real: bool) -> None:
        """Where the tool itself pauses, reading again brings nothing, and the next pause has to be a longer one."""
        self._least = LEAST_LEAP if real else min(2 * self._least, MOST_LEAP)
