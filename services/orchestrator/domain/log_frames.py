"""Reads the engine's log stream: frames with a stream number and a length, each one timestamped line.

Of a container with a terminal come the lines alone, raw, and what it printed as an error is not told apart. Where the
engine cut a long one shows only in the time that the next piece begins with. It is the first piece's to the nanosecond,
which no tool can foretell: what else looks like a time there is what the tool printed.

The position of a line is exact: the highest time seen so far, and how many lines came since the first
line of that time. Times alone do not do: lines share them, and standard output and error overtake each
other by a hair. The engine begins at the first line that is not older than the time it is asked for, so
going on after a position means to ask for its time and to skip its count.
"""

import re
from calendar import timegm
from collections.abc import Generator
from functools import lru_cache
from struct import Struct
from time import gmtime, strftime, strptime
from typing import Literal, NamedTuple

Stream = Literal["stdout", "stderr"]
HEADER = Struct(">BxxxL")  # the stream's number, and the length of what follows
AFTER_ALL = b"~"
STAMP = len("2026-11-21T08:20:18.123456789Z")
NOT_KEPT = "[some of what was printed here came faster than the engine could tell, and is lost]"
LINE_LENGTH = 16 * 1024  # the engine cuts longer ones, and gives the pieces as lines, without an end but of the last
# Each byte that is no text, as of half a character, has become three of U+FFFD by then.
RAW_LENGTH = 3 * LINE_LENGTH
STAMPED = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")
FRAME_LENGTH = 256 * 1024  # the engine cuts lines at 16 KiB: anything longer is no log stream


class LogPosition(NamedTuple):
    """Where in a container's log a reader is; `time` in nanoseconds since 1970."""

    time: int
    lines: int

    def __str__(self) -> str:
        return f"{self.time}.{self.lines}"


class LogLine(NamedTuple):
    """`time` in nanoseconds since 1970; `position` is what a reader gives to go on after this line.

    `skipped`: so many before it were passed over, because they came too fast.
    """

    time: int
    stream: Stream
    text: str
    position: LogPosition
    skipped: int = 0


class Untold(NamedTuple):
    """`passed` lines were passed over; and others are `lost`, nobody knows how many."""

    passed: int = 0
    lost: bool = False


NOTHING = Untold()


class Leap(NamedTuple):
    """Nanoseconds without a line, `least` of them or more and after `since`, in which lines may be left out."""

    since: int
    least: int

    def is_between(self, one: int, next: int) -> bool:
        return next - max(one, self.since) >= self.least


class LogReader:
    """Feed it bytes as they come; it gives whole lines, without those up to `after`. `raw`: of a terminal.

    With `leap` set it stops for good before the first line that comes after such a one: `leapt_to` is its time then.
    `first` is the time of the first line after `after`, and `lost` whether that is not the next one, because the
    engine keeps it no longer. `untold` is what the next line that is given will tell.
    """

    def __init__(self, after: LogPosition | None = None, *, raw: bool = False, untold: Untold = NOTHING) -> None:
        self._raw = raw
        self._rest = b""
        self.untold = untold
        self.first: int | None = None
        self.lost = False
        self.leap: Leap | None = None
        self.leapt_to: int | None = None
        self._mark = after.time if after else -1
        self._count = 0
        self._skip = after.lines if after else 0
        self._stamp = nanosecond_stamp(self._mark) + b" "
        self._torn = False

    @property
    def time(self) -> int:
        """The highest that was read."""
        return self._mark

    @property
    def position(self) -> LogPosition | None:
        """After the last line that was read."""
        return LogPosition(self._mark, self._count) if self._count else None

    def feed(self, chunk: bytes) -> list[LogLine]:
        """Raises ValueError for what is not a log stream."""
        lines: list[LogLine] = []
        for line in self._lines(chunk):
            if self.untold != NOTHING:
                lines += self._telling(line)
            else:
                lines.append(line)
        return lines

    def _telling(self, line: LogLine) -> list[LogLine]:
        (passed, lost), self.untold = self.untold, NOTHING
        return [line._replace(text=NOT_KEPT, skipped=passed), line] if lost else [line._replace(skipped=passed)]

    def skip(self, chunk: bytes) -> None:
        """As `feed`, much faster: the lines are counted, and the next one that is given tells how many."""
        if self.leapt_to is not None:
            return
        if self._skip or not self._count:
            self._pass(sum(1 for _ in self._lines(chunk)))
            return
        highest, count = nanosecond_stamp(self._mark), self._count
        looked_at, passed = self._next_look(self._mark), 0
        for _, frame in self._frames(chunk):
            stamp = frame[:STAMP]
            if len(stamp) != STAMP or stamp[-1:] != b"Z":
                stamp = highest
            if stamp > highest:
                if stamp > looked_at:
                    self._mark, time = nanoseconds(highest.decode("ascii")), nanoseconds(stamp.decode("ascii"))
                    if self._leaps(time):
                        break
                    looked_at = self._next_look(time)
                highest, count = stamp, 0
            count += 1
            passed += 1
        self._mark, self._count = nanoseconds(highest.decode("ascii")), count
        self._pass(passed)

    def _pass(self, lines: int) -> None:
        self.untold = self.untold._replace(passed=self.untold.passed + lines)

    def _lines(self, chunk: bytes) -> Generator[LogLine]:
        if self.leapt_to is not None:
            return
        for stream, frame in self._frames(chunk):
            time, text = self._read(frame.decode("utf-8", "replace"))
            if self.leap is not None and self._leaps(time):
                return
            if line := self._line("stderr" if stream == 2 else "stdout", time, text):
                yield line

    def _read(self, line: str) -> tuple[int, str]:
        """Its time and its text. What the engine itself has to say, as of a log it cannot read, has no time."""
        stamp, _, text = line.partition(" ")
        try:
            return nanoseconds(stamp), text
        except (ValueError, IndexError):
            return max(0, self._mark), line

    def _leaps(self, time: int) -> bool:
        if self.leap is not None and self._count and not self._skip and self.leap.is_between(self._mark, time):
            self.leapt_to = time
        return self.leapt_to is not None

    def _next_look(self, time: int) -> bytes:
        """The first stamp that can lie behind a leap. To read each one would take longer than to pass over it."""
        return nanosecond_stamp(max(time, self.leap.since) + self.leap.least - 1) if self.leap else AFTER_ALL

    def _frames(self, chunk: bytes) -> Generator[tuple[int, bytes]]:
        return self._raw_lines(chunk) if self._raw else self._framed(chunk)

    def _raw_lines(self, chunk: bytes) -> Generator[tuple[int, bytes]]:
        data = self._rest + chunk if self._rest else chunk
        begin, longest = 0, STAMP + 1 + RAW_LENGTH
        while True:
            end = data.find(b"\n", begin, begin + longest + 1) + 1
            cut = 0 if self._torn else _cut(data, begin, end or min(len(data), begin + longest + STAMP + 1))
            if not end and not cut and len(data) - begin <= longest + STAMP:
                break
            line = data[begin : (whole := cut or end) or begin + longest]
            yield 1, self._with_time(line)
            self._torn = not whole
            begin += len(line)
        self._rest = data[begin:]

    def _with_time(self, line: bytes) -> bytes:
        """What the engine gave no time has that of the line before, whatever it begins with itself."""
        if self._torn or not _has_time(line):
            return self._stamp + line
        self._stamp = line[: STAMP + 1]
        return line

    def _framed(self, chunk: bytes) -> Generator[tuple[int, bytes]]:
        data = self._rest + chunk if self._rest else chunk
        begin, held = 0, len(data)
        while held - begin >= HEADER.size:
            stream, length = HEADER.unpack_from(data, begin)
            if stream > 3 or length > FRAME_LENGTH:
                raise ValueError("the engine's log stream is not framed: does the container have a terminal?")
            end = begin + HEADER.size + length
            if end > held:
                break
            yield stream, data[begin + HEADER.size : end]
            begin = end
        self._rest = data[begin:]

    def _line(self, stream: Stream, time: int, text: str) -> LogLine | None:
        if self._skip and self._count == 0 and time > self._mark:
            self._skip = 0
            self.lost = True  # the line we stood at was rotated away
            self.untold = self.untold._replace(lost=True)
        if time > self._mark:
            self._mark, self._count = time, 0
        self._count += 1
        if self._skip:
            self._skip -= 1
            return None
        self.first = time if self.first is None else self.first
        return LogLine(time, stream, text.removesuffix("\n").removesuffix("\r"), LogPosition(self._mark, self._count))


def _cut(data: bytes, begin: int, end: int) -> int:
    """Where before `end` the engine cut the raw line that begins there; 0 for nowhere."""
    text = begin + STAMP + 1
    return max(0, data.find(data[begin:text], text + LINE_LENGTH, end)) if end - text > LINE_LENGTH else 0


def _has_time(line: bytes) -> bool:
    if STAMPED.match(line) is None:
        return False
    try:
        return nanoseconds(line[:STAMP].decode("ascii")) >= 0
    except ValueError:
        return False


def nanoseconds(stamp: str) -> int:
    """From the engine's RFC 3339 time, `2026-11-21T08:20:18.123456789Z` or with an offset."""
    if stamp.endswith("Z"):
        zone, seconds, fraction = 0, stamp[:19], stamp[20:-1]
    else:
        sign = -1 if stamp[-6] == "-" else 1
        zone = sign * (int(stamp[-5:-3]) * 3600 + int(stamp[-2:]) * 60)
        seconds, fraction = stamp[:19], stamp[20:-6]
    return (_seconds(seconds) - zone) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or 0)


def nanosecond_stamp(time: int) -> bytes:
    """As the engine writes a time: such stamps are in the order of their times."""
    time = max(0, time)
    return f"{_to_the_second(time // 1_000_000_000)}.{time % 1_000_000_000:09d}Z".encode()


def stamped(time: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 has it, in microseconds."""
    return f"{_to_the_second(time // 1_000_000_000)}.{time % 1_000_000_000 // 1000:06d}Z"


def since(time: int) -> str:
    """As the engine wants a time: seconds, a dot, nanoseconds. A float would round it."""
    return f"{time // 1_000_000_000}.{time % 1_000_000_000:09d}"


@lru_cache(maxsize=256)
def _seconds(text: str) -> int:
    return timegm(strptime(text, "%Y-%m-%dT%H:%M:%S"))


@lru_cache(maxsize=256)
def _to_the_second(time: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(time))
