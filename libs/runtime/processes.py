"""What an event loop must know about a process it started: when it ends, and who is left of its session."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path


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
