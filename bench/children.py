"""Processes that the bench starts, none of which outlives it, not even when it is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from libs.runtime.embedded import LAUNCHER

ROOT = Path(__file__).resolve().parents[1]
STOPS_WITHIN = 20.0


def dying_with_us(argv: Sequence[str]) -> list[str]:
    """A command line that does not outlive this process, begun on its main thread. The program is a whole path."""
    return [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *argv]


@contextmanager
def running(argv: Sequence[str | Path], env: Mapping[str, str], log: Path) -> Generator[subprocess.Popen[bytes]]:
    """A process that dies with this one, even with kill -9; stopped by SIGTERM at the end.

    To be entered on the main thread. The way there costs it some 15 ms, which no measurement takes off.
    """
    with log.open("ab") as said:
        process = subprocess.Popen(
            dying_with_us([str(word) for word in argv]),
            env=dict(env),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
