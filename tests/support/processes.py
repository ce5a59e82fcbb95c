"""Looking at real processes from outside: who carries a mark, who is a zombie, who holds how much."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

MARK = "MACHETE_TEST_MARK"


def marked(mark: str) -> list[int]:
    """Pids of the living processes with `MARK=mark` in their environment, which children inherit."""
    wanted = f"{MARK}={mark}".encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
    return sorted(found)


def state_of(pid: int) -> str | None:
    """One letter as in `ps` (R, S, T, Z, …), None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return stat.rpartition(")")[2].split()[0]


def freeze(*pids: int) -> None:
    """Returns when each of all their threads stands: on a busy machine they go on for a while after the signal."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    give_up = time.monotonic() + 10
    while not all(_stands(pid) for pid in pids):
        assert time.monotonic() < give_up, f"not all of {pids} stand"
        time.sleep(0.001)


def _stands(pid: int) -> bool:
    """Or is gone."""
    try:
        states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):
        return state_of(pid) is None
    return set(states) <= set("TZX")


def zombies_of(parent: int) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, ppid = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state == "Z" and int(ppid) == parent:
                found.append(int(entry.name))
    return found


def resident(pid: int | None = None) -> int:
    """Bytes of memory a process holds now; the calling one without `pid`."""
    pages = Path(f"/proc/{pid or os.getpid()}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def until(true: Callable[[], bool], *, within: float = 10.0) -> float:
    """Seconds until `true()` held; fails the test if that takes longer than `within`."""
    begun = time.monotonic()
    while not true():
        if time.monotonic() - begun > within:
            raise AssertionError(f"not within {within} s: {true}")
        await asyncio.sleep(0.01)
    return time.monotonic() - begun
