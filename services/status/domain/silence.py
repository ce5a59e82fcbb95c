"""When the log of a tool that is gone has its last lines: nobody says which these are, only that no more come."""

from __future__ import annotations

from dataclasses import dataclass

# Seconds without a new line. Reading from the engine may lag 5 s behind what was printed, and looks for what it has
# not read yet every 5 s.
ENOUGH = 6.0
# Seconds in all, should something go on and on under the id of a tool that is gone.
AT_MOST = 30.0
# Seconds that an answer takes when who gives it was away; so was then whoever had lines to store.
AWAY = 1.0


@dataclass
class Silence:
    """From a moment on at which `newest` was the last sequence; all times in seconds of one clock."""

    newest: int
    since: float
    began: float

    @classmethod
    def begun(cls, newest: int, now: float) -> Silence:
        return cls(newest, now, now)

    def heard(self, newest: int, asked: float, answered: float) -> None:
        """The last sequence by now. What was away for a while counts anew, as if it had begun then."""
        if answered - asked > AWAY:
            self.began = self.since = answered
        elif newest != self.newest:
            self.since = answered
        self.newest = newest

    def is_over(self, now: float) -> bool:
        """Whether nothing more is waited for."""
        return now - self.since >= ENOUGH or now - self.began >= AT_MOST
