"""Running other programs and telling what happens, alike for every step of set-up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

# A folder that every machine has and every user may open: its lock stands for "set-up works on this machine".
MACHINE = Path("/var/tmp")
MAKE_VARIABLES = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")


class SetupFailed(Exception):
    """A step did not work; the text says which and what would help."""


class PersonNeeded(Exception):
    """Set-up may not go on by itself; the text says what to do."""


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def clean_environment() -> dict[str, str]:
    """The environment without what belongs to the make that called us: a daemon would carry it for ever."""
    return {name: value for name, value in os.environ.items() if name not in MAKE_VARIABLES}


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 1200,
) -> None:
    """Run a program quietly; raises SetupFailed with the end of its output. `timeout` is in seconds."""
    command = [str(part) for part in argv]
    code, words = ask(command, timeout=timeout, cwd=cwd, environment=environment)
    if code != 0:
        told = "\n".join(f"  {line}" for line in words.splitlines()[-20:])
        raise SetupFailed(f"`{' '.join(command)}` ended with exit code {code}:\n{told}")


def ask(
    argv: Sequence[str | Path],
    *,
    timeout: float = 30,
    stdin: bytes | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Exit code and joined output of a program; 127 if it is not there, 124 after `timeout` seconds."""
    command = [str(part) for part in argv]
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            input=stdin or b"",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        return 127, f"{command[0]}: not found"
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]}: no answer within {timeout:g} s"
    return done.returncode, done.stdout.decode(errors="replace").strip()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock on `folder`; the kernel frees it when this process ends, however it ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another set-up that holds {folder}")
            flock(descriptor, LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()
