"""The time that all services of a platform agree on: NATS's, whatever the clock of a machine or a process shows."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

# Seconds. What NATS shows takes its way to be heard, so less than this may be nobody's fault.
TOLERATED = 1.0


def ticks() -> float:
    """Seconds by a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock:
    """Where NATS never told its time, it is this machine's."""

    def __init__(self) -> None:
        self._heard: tuple[datetime, float] | None = None

    def heard(self, shown: datetime, asked: float, answered: float) -> None:
        """NATS showed this time between two `ticks`. An answer that was long on its way tells too little."""
        if answered - asked <= TOLERATED:
            self._heard = shown, (asked + answered) / 2

    def now(self) -> datetime:
        """In UTC: the machine's time where that is right, so that two services of one machine differ by nothing."""
        own = datetime.now(UTC)
        if self._heard is None:
            return own
        shown, at = self._heard
        right = shown + timedelta(seconds=ticks() - at)
        return own if abs(own - right) <= timedelta(seconds=TOLERATED) else right
