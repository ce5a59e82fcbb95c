"""Reads the engine's log stream: frames with a stream number and a length, each one timestamped line.

The position of a line is exact: the highest time seen so far, and how many lines came since the first
line of that time. Times alone do not do: lines share them, and standard output and error overtake each
other by a hair. The engine begins at the first line that is not older than the time it is asked for, so
going on after a position means to ask for its time and to skip its count.
"""

from calendar import timegm
from dataclasses import dataclass
from functools import lru_cache
from time import strptime
from typing import Literal

Stream = Literal["stdout", "stderr"]
FRAME_LENGTH = 256 * 1024  # the engine cuts lines at 16 KiB: anything longer is no log stream


@dataclass(frozen=True)
class LogPosition:
    """Where in a container's log a reader is; `time` in nanoseconds since 1970."""

    time: int
    lines: int


@dataclass(frozen=True)
class LogLine:
    """`time` in nanoseconds since 1970; `position` is what a reader gives to go on after this line."""

    time: int
    stream: Stream
    text: str
    position: LogPosition


class LogReader:
    """Feed it bytes as they come; it gives whole lines, without those up to `after`."""

    def __init__(self, after: LogPosition | None = None) -> None:
        self._buffer = bytearray()
        self._mark = after.time if after else -1
        self._count = 0
        self._skip = after.lines if after else 0

    def feed(self, chunk: bytes) -> list[LogLine]:
        """Raises ValueError for what is not a log stream."""
        self._buffer += chunk
        lines: list[LogLine] = []
        start, held = 0, len(self._buffer)
        while held - start >= 8:
            length = int.from_bytes(self._buffer[start + 4 : start + 8], "big")
            if self._buffer[start] > 3 or length > FRAME_LENGTH:
                raise ValueError("the engine's log stream is not framed: does the container have a terminal?")
            if held - start - 8 < length:
                break
            frame = bytes(self._buffer[start + 8 : start + 8 + length])
            if line := self._line("stderr" if self._buffer[start] == 2 else "stdout", frame):
                lines.append(line)
            start += 8 + length
        del self._buffer[:start]
        return lines

    def _line(self, stream: Stream, frame: bytes) -> LogLine | None:
        stamp, _, text = frame.partition(b" ")
        time = nanoseconds(stamp.decode("ascii"))
        if self._skip and self._count == 0 and time > self._mark:
            self._skip = 0  # the line we stood at was rotated away
        if time > self._mark:
            self._mark, self._count = time, 0
        self._count += 1
        if self._skip:
            self._skip -= 1
            return None
        readable = text.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace")
        return LogLine(time, stream, readable, LogPosition(self._mark, self._count))


def nanoseconds(stamp: str) -> int:
    """From the engine's RFC 3339 time, `2026-11-21T08:20:18.123456789Z` or with an offset."""
    if stamp.endswith("Z"):
        zone, seconds, fraction = 0, stamp[:19], stamp[20:-1]
    else:
        sign = -1 if stamp[-6] == "-" else 1
        zone = sign * (int(stamp[-5:-3]) * 3600 + int(stamp[-2:]) * 60)
        seconds, fraction = stamp[:19], stamp[20:-6]
    return (_seconds(seconds) - zone) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or 0)


def since(time: int) -> str:
    """As the engine wants a time: seconds, a dot, nanoseconds. A float would round it."""
    return f"{time // 1_000_000_000}.{time % 1_000_000_000:09d}"


@lru_cache(maxsize=256)
def _seconds(text: str) -> int:
    return timegm(strptime(text, "%Y-%m-%dT%H:%M:%S"))
