"""Child processes under a watchdog: none outlives the platform, its hanging, or the loss of its task.

    children = Children(bound=6.0, heartbeat=2.0)
    async with children.run(["git", "fetch", url], env=env, cwd=folder, alive=operation.is_ours) as git:
        async for line in git.lines():
            ...
        code = await git.wait()

The guarantee: at the latest `bound` seconds after the last moment at which this event loop ran and `alive()`
was true, the child and everything that descends from it are gone. So whoever takes the work over and has
waited `bound` seconds is alone with it.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import IO

import uvloop

from libs.runtime.line_splitter import LineSplitter
from libs.runtime.processes import exit_of, kill_session

WATCHDOG = Path(__file__).with_name("watchdog.py")
CHUNK = 64 * 1024
LONGEST_LINE = 16 * 1024
LONGEST_GRACE = 1.0


class OwnerGone(RuntimeError):
    """`alive()` was false already when the child was to start, so it was not started."""


class OutputTooLong(RuntimeError):
    """A child said more than its caller is prepared to hold in memory."""


class Heart:
    """Writes the time to a watchdog, every `interval` seconds while `alive()` is true."""

    def __init__(self, pipe: int, interval: float, alive: Callable[[], bool]):
        os.set_blocking(pipe, False)
        self._pipe = os.fdopen(pipe, "wb", buffering=0)
        self._interval = interval
        self._alive = alive
        self._next: asyncio.TimerHandle | None = None

    def beat(self) -> bool:
        """Whether the owner was alive. The time is taken before asking, so a pause in between counts."""
        self._next = asyncio.get_running_loop().call_later(self._interval, self.beat)
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        alive = self._alive()
        if alive:
            self._write(now.to_bytes(8, sys.byteorder))
        return alive

    def _write(self, stamp: bytes) -> None:
        try:
            self._pipe.write(stamp)
        except BrokenPipeError:
            return  # the watchdog ended a moment ago: `exit_of` reports that

    def stop(self) -> None:
        if self._next is not None:
            self._next.cancel()
        self._pipe.close()


class Child:
    """One running child; made by `Children.run`."""

    def __init__(self, argv: Sequence[str], watchdog: subprocess.Popen[bytes], heart: Heart, pipe: IO[bytes]):
        self.argv = tuple(argv)
        self._watchdog = watchdog
        self._heart = heart
        self._exit = exit_of(watchdog)
        self._output = asyncio.StreamReader(limit=CHUNK)
        self._pipe: IO[bytes] | asyncio.ReadTransport = pipe
        self._claimed = False

    @property
    def pid(self) -> int:
        """Of the watchdog: the session in which the child and all it starts live."""
        return self._watchdog.pid

    def lines(self) -> AsyncIterator[str]:
        """What the child says, standard output and error as one, until nobody can say any more.

        One line at a time, without its end (\\n, \\r\\n or \\r), at most LONGEST_LINE characters; a longer
        one comes in pieces. Whoever reads slowly slows the child down; nothing piles up here.
        """
        self._claimed = True
        return self._lines()

    async def _lines(self) -> AsyncIterator[str]:
        splitter = LineSplitter(LONGEST_LINE)
        while chunk := await self._output.read(CHUNK):
            for line in splitter.feed(chunk):
                yield line
        for line in splitter.feed(b"", last=True):
            yield line

    async def raw(self, most: int) -> bytes:
        """All that the child says; raises `OutputTooLong` once that is more than `most` bytes."""
        self._claimed = True
        said = bytearray()
        while chunk := await self._output.read(CHUNK):
            said += chunk
            if len(said) > most:
                raise OutputTooLong(f"{self.argv[0]} wrote more than {most} bytes, which is the most allowed here")
        return bytes(said)

    async def wait(self) -> int:
        """The exit code; 128 + n after signal n, 127 if the program could not be started.

        Discards the output unless it is being read, so that a talkative child cannot block for ever.
        """
        if not self._claimed:
            async for _ in self.lines():
                pass
        code = await asyncio.shield(self._exit)
        return code if code >= 0 else 128 - code

    async def listen(self) -> None:
        """Makes the output readable; called once, by `Children`."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReaderProtocol(self._output)
        assert not isinstance(self._pipe, asyncio.ReadTransport)
        handed = Handed(os.dup(self._pipe.fileno()), closed_by_loop=isinstance(loop, uvloop.Loop))
        self._pipe.close()
        self._pipe, _ = await loop.connect_read_pipe(lambda: reader, handed)

    async def end(self, patience: float) -> None:
        """Ends all that is left of it, and returns then.

        The watchdog sees to that, even if this call is cancelled; one that has not done so within `patience`
        seconds is itself killed, with its session.
        """
        self._heart.stop()
        if not self._exit.done():
            last_resort = asyncio.get_running_loop().call_later(patience, kill_session, self.pid)
            self._exit.add_done_callback(lambda _: last_resort.cancel())
        try:
            await asyncio.shield(self._exit)
        finally:
            self._pipe.close()


class Handed:
    """A descriptor that the event loop has taken over, to be closed once.

    uvloop closes the descriptor and then the object it came in. By then the number may belong to what another thread
    has opened in between, which would be closed instead.
    """

    def __init__(self, descriptor: int, *, closed_by_loop: bool) -> None:
        self._descriptor = descriptor
        self._open = not closed_by_loop

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._descriptor)


def _always() -> bool:
    return True


class Children:
    """Starts children and beats for them. Times are seconds; see the module for what `bound` promises."""

    def __init__(self, *, bound: float = 6.0, heartbeat: float = 2.0):
        self.bound = bound
        self.heartbeat = heartbeat
        self.grace = min(LONGEST_GRACE, bound / 4)
        if heartbeat >= bound - self.grace:
            raise ValueError(
                f"a heartbeat every {heartbeat} s keeps no child alive that is told to end "
                f"{bound - self.grace} s after the last one: make the bound longer or the heartbeat shorter"
            )

    @asynccontextmanager
    async def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: Path | bytes | None = None,
        stdout: Path | None = None,
        alive: Callable[[], bool] = _always,
    ) -> AsyncGenerator[Child]:
        """Runs `argv`; leaving the context ends it, with all its descendants, within about a second.

        `env` is the whole environment; None passes the platform's own on. `stdin`: nothing, a file, or bytes.
        With `stdout`, standard output is written to that file and `lines()` has standard error alone.
        Raises `OwnerGone` if `alive()` is false at the start, OSError if a file or folder is missing.
        """
        child = self._start(argv, env, cwd, stdin, stdout, alive)
        try:
            await child.listen()
            yield child
        finally:
            await child.end(patience=self.grace + 1.0)

    async def output(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: Path | bytes | None = None,
        alive: Callable[[], bool] = _always,
        most: int = 4 * 1024 * 1024,
    ) -> tuple[int, str]:
        """Exit code and all output, standard error included; `OutputTooLong` past `most` bytes."""
        async with self.run(argv, env=env, cwd=cwd, stdin=stdin, alive=alive) as child:
            said = await child.raw(most)
            return await child.wait(), said.decode(errors="replace")

    def _start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None,
        cwd: Path | None,
        stdin: Path | bytes | None,
        stdout: Path | None,
        alive: Callable[[], bool],
    ) -> Child:
        with ExitStack() as undo, ExitStack() as handed_over:
            beats, pipe = os.pipe()
            handed_over.callback(os.close, beats)
            heart = Heart(pipe, self.heartbeat, alive)
            undo.callback(heart.stop)
            if not heart.beat():
                raise OwnerGone(f"{argv[0]} was not started: what it is for now belongs to somebody else")
            output, said = os.pipe()
            handed_over.callback(os.close, said)
            listened = undo.enter_context(os.fdopen(output, "rb", buffering=0))
            watchdog = subprocess.Popen(
                self._lead(beats, argv),
                env=env,
                cwd=cwd,
                stdin=_source(stdin, handed_over),
                stdout=said if stdout is None else handed_over.enter_context(stdout.open("wb")),
                stderr=said,
                pass_fds=[beats],
                start_new_session=True,
            )
            child = Child(argv, watchdog, heart, listened)
            undo.pop_all()
            return child

    def _lead(self, beats: int, argv: Sequence[str]) -> list[str]:
        times = [str(self.bound), str(self.grace)]
        return [sys.executable, "-I", "-S", str(WATCHDOG), *times, str(beats), "--", *argv]


def _source(stdin: Path | bytes | None, opened: ExitStack) -> int | IO[bytes]:
    """What becomes the child's standard input. Bytes lie in memory, so nobody has to feed them."""
    if stdin is None:
        return subprocess.DEVNULL
    if isinstance(stdin, Path):
        return opened.enter_context(stdin.open("rb"))
    memory = opened.enter_context(os.fdopen(os.memfd_create("stdin"), "w+b", buffering=0))
    memory.write(stdin)
    memory.seek(0)
    return memory
