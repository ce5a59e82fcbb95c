"""Processes of a platform under test: started, paused, killed and started again, always by their pid."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from libs.runtime.embedded import LAUNCHER
from tests.support.platform_waiting import until
from tests.support.processes import freeze, state_of

ROOT = Path(__file__).parents[2]


class Process:
    """One process that dies with the test, in however many lives; `url` is where it listens now."""

    def __init__(self, name: str, argv: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._argv = [str(word) for word in argv]
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._begin = 0
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Started, not yet ready. On the main thread: the kernel ends it with the thread that started it."""
        self._begin = self.log.stat().st_size if self.log.exists() else 0
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid())]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*launcher, *self._argv],
                env=self._environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    async def ready(self) -> None:
        """Returns when it says that all its services have started."""
        said = await until(self._ready, f"{self.name} is ready; it said:\n{self.said()[-3000:]}")
        self.url = said["listening"]

    def _ready(self) -> dict[str, Any] | None:
        assert self.alive, f"{self.name} ended with {self.exit_code}: {self.said()[-3000:]}"
        return next((line for line in self.lines() if line.get("event") == "ready"), None)

    async def start(self) -> None:
        self.launch()
        await self.ready()

    async def restart(self) -> None:
        """kill -9, and started again as whoever supervises it does."""
        await self.kill()
        await self.start()

    @contextmanager
    def given(self, environment: Mapping[str, str]) -> Generator[None]:
        """What is launched inside the block gets this too."""
        before, self._environment = self._environment, {**self._environment, **environment}
        try:
            yield
        finally:
            self._environment = before

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def terminate(self) -> int:
        """As asked to stop in order; the exit code."""
        await self._end(signal.SIGTERM)
        assert self._process is not None
        return self._process.returncode

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    async def _end(self, number: int) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(number)
        await asyncio.to_thread(self._process.wait, 30)

    async def pause(self) -> None:
        await asyncio.to_thread(freeze, self.pid)

    def wake(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def said(self, *, in_all_lives: bool = False) -> str:
        """What it wrote, in its present life unless asked otherwise."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[0 if in_all_lives else self._begin :].decode(errors="replace")

    def lines(self, *, in_all_lives: bool = False) -> list[dict[str, Any]]:
        """Its log; what is no JSON is left out."""
        found: list[dict[str, Any]] = []
        for line in self.said(in_all_lives=in_all_lives).splitlines():
            try:
                parsed = json.loads(line)
            except ValueError:
                continue
            if isinstance(parsed, dict):
                found.append(parsed)
        return found


def belonging_to(folder: Path) -> dict[int, str]:
    """Pids and command lines of the living processes that have to do with a folder: by environment, words or place.

    Git and the BuildKit client get environments of their own, yet work in the platform's data.
    """
    wanted = str(folder).encode()
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes()
            around = (entry / "environ").read_bytes() + b"\0" + os.readlink(entry / "cwd").encode() + words
        except OSError:
            continue
        if wanted in around and state_of(int(entry.name)) not in ("Z", None):
            found[int(entry.name)] = words.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def said_by_machine(mark: str) -> list[int]:
    """Pids of the processes with exactly this word on their command line, containers' among them."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark.encode() in words:
                found.append(int(entry.name))
    return found
