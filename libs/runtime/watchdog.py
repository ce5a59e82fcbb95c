"""Keeps one child on a lead: it and all that descends from it end when its owner stops beating.

Run as `python -I -S watchdog.py BOUND GRACE FD -- ARGV...`, by `libs.runtime.children` alone. FD is the
reading end of a pipe on which the owner writes the time (8 bytes, nanoseconds of CLOCK_BOOTTIME) again and
again. At the latest BOUND seconds after the time last read there, or GRACE seconds after the pipe's end (the
owner is gone, by kill -9 too) or after a SIGTERM to the watchdog, nothing of the child is left.

Ends with the child's exit code; 128 + n if signal n ended it; 127 if it cannot be started.
"""

import ctypes
import os
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:  # the same without its enums, which would add 4 ms to the 13 that every child waits for its start
    import _signal as signal

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGTERM, SIGCHLD, SIGXFSZ = 1, 2, 9, 13, 15, 17, 25
STAMP = 8
NANOSECONDS = 1_000_000_000
SHORTEST_PAUSE = 0.01

libc = ctypes.CDLL(None)


def now() -> int:
    """Nanoseconds on the clock the owner stamps its beats with: it goes on while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def note(number: int, frame: object) -> None:
    """Python tells of a signal on the wake-up descriptor only if there is a handler."""


def signals() -> int:
    """A descriptor on which each signal that concerns us arrives as one byte."""
    arriving, leaving = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(leaving)
    for number in (SIGHUP, SIGINT, SIGTERM, SIGCHLD):
        signal.signal(number, note)
    return arriving


def start(argv: list[str]) -> int:
    """The pid of the child, in a process group of its own within the watchdog's session."""
    watchdog = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        os.setpgid(0, 0)
        libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
        for ignored_by_python in (SIGPIPE, SIGXFSZ):
            signal.signal(ignored_by_python, signal.SIG_DFL)
        if os.getppid() == watchdog:
            os.execvpe(argv[0], argv, environment())
    except OSError as problem:
        os.write(2, f"cannot start {argv[0]}: {problem.strerror}\n".encode(errors="replace"))
    finally:
        os._exit(127)


def environment() -> dict[bytes, bytes]:
    """As it was given to us; Python has set LC_CTYPE in its own copy since, where the locale is C."""
    with open("/proc/self/environ", "rb") as file:
        return dict(pair.split(b"=", 1) for pair in file.read().split(b"\0") if b"=" in pair)


class Household:
    """The child and whatever it left behind: as subreaper, the watchdog inherits every orphan of it."""

    def __init__(self, child: int):
        self.child = child
        self.code: int | None = None

    def reap(self) -> bool:
        """Leaves no zombie; true while somebody is left. Notes the child's exit code."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.child:
                code = os.waitstatus_to_exitcode(status)
                self.code = code if code >= 0 else 128 - code

    def signal(self, number: int) -> None:
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                continue  # ended meanwhile, or took another user's identity: no signal of ours reaches it

    def end(self, grace: float, arriving: int) -> None:
        """SIGTERM for all, SIGKILL for who is left `grace` seconds later; returns when nobody is."""
        patience = now() + int(grace * NANOSECONDS)
        pause = SHORTEST_PAUSE
        if self.reap():
            self.signal(SIGTERM)
        while self.reap():
            if now() >= patience:
                self.signal(SIGKILL)
                pause = min(2 * pause, 1.0)
            if select.select([arriving], [], [], pause)[0]:
                os.read(arriving, 64)


def descendants(ancestor: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                    stat = file.read(512)
            except (FileNotFoundError, ProcessLookupError):
                continue
            parent = int(stat[stat.rindex(b")") + 2 :].split(None, 2)[1])
            children.setdefault(parent, []).append(int(name))
    found = list(children.get(ancestor, ()))
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def last_beat(beats: int) -> int | None:
    """When the owner last said it lives; None at the pipe's end."""
    stamps = os.read(beats, 512 * STAMP)
    return int.from_bytes(stamps[-STAMP:], sys.byteorder) if stamps else None


def watch(household: Household, beats: int, arriving: int, beat: int, bound: int) -> str | None:
    """Returns when the child has ended by itself, or with the reason why it has to."""
    poll = select.poll()
    poll.register(beats, select.POLLIN)
    poll.register(arriving, select.POLLIN)
    while True:
        left = beat + bound - now()
        if left <= 0:
            return f"no sign of life from its owner for {(now() - beat) / NANOSECONDS:.1f} s"
        ready = [fd for fd, _ in poll.poll(left // 1_000_000 + 1)]
        if arriving in ready:
            if set(os.read(arriving, 64)) - {SIGCHLD}:
                return "told to end"
            household.reap()
            if household.code is not None:
                return None
        if beats in ready:
            latest = last_beat(beats)
            if latest is None:
                return "its owner is gone"
            beat = latest


def main() -> int:
    bound, grace, beats, argv = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[5:]
    os.set_inheritable(beats, False)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    beat = last_beat(beats)
    if beat is None:
        return 128 + SIGTERM
    arriving = signals()
    household = Household(start(argv))
    reason = watch(household, beats, arriving, beat, int((bound - grace) * NANOSECONDS))
    household.end(grace, arriving)
    if reason is not None:
        tell(f"{argv[0]} was ended: {reason}\n")
    return household.code if household.code is not None else 128 + SIGKILL


def tell(line: str) -> None:
    """Into the child's own output, if anybody can still take it there."""
    os.set_blocking(2, False)
    try:
        os.write(2, line.encode(errors="replace"))
    except (BlockingIOError, BrokenPipeError):
        return


if __name__ == "__main__":
    os._exit(main())
