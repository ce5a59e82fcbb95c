"""This process and those it starts: how many files it may open, when they end, and who is left of their sessions."""

import asyncio
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

_MOST_FILES = 65_536


def allow_open_files() -> None:
    """As many as this process may allow itself: a shell gives 1,024, and each connection takes one."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if most == resource.RLIM_INFINITY else min(most, _MOST_FILES)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def exit_of(process: subprocess.Popen[bytes]) -> asyncio.Future[int]:
    """Done with the return code once the process has ended and is reaped, whether anybody awaits it or not.

    Await it behind `asyncio.shield`: it belongs to everyone who waits. Works alike on asyncio and uvloop,
    without a thread and without their child watchers.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()
    handle = os.pidfd_open(process.pid)

    def reap() -> None:
        loop.remove_reader(handle)
        os.close(handle)
        end_session_of_the_killed(process.pid)
        code = process.wait()
        if not ended.done():
            ended.set_result(code)

    loop.add_reader(handle, reap)
    return ended


def end_session_of_the_killed(leader: int) -> None:
    """A watchdog that was itself killed could end nobody: end its session before its pid is free again."""
    result = os.waitid(os.P_PID, leader, os.WEXITED | os.WNOWAIT)
    if result is not None and result.si_code != os.CLD_EXITED:
        kill_session(leader)


def kill_session(leader: int) -> None:
    """SIGKILL to every process of the session, its leader too."""
    for pid in session_members(leader):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def session_members(leader: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(stat[stat.rindex(b")") + 2 :].split(None, 4)[3]) == leader:
                yield int(entry.name)
