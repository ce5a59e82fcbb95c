"""Bounds how many builds run at once on one host, over all orchestrators that share a data folder.

    slots/0, slots/1, …      each is locked by the build that has it
    slots/waiting/<number>   each is locked by a build that waits; the lowest number is next

A lock goes with its process, by kill -9 too. A process that was stopped keeps its locks, but its build is ended by the
watchdog after `bound` seconds: a file that was not written to for so long counts as free, and another slot stands in.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from libs.runtime import metrics
from libs.runtime.cancellation import abandon
from services.orchestrator.adapters.engine import Engine
from services.orchestrator.domain.build_slots import slots_for, waiting_line

LOOK_AGAIN = 0.5


class Held:
    """A file that is locked for as long as it is open, with the time of the last sign of life in it."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self._file = file
        self.beat()

    @classmethod
    def take(cls, path: Path) -> Held | None:
        """None if somebody else has it."""
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        return cls(path, file)

    def beat(self) -> None:
        os.pwrite(self._file, _now().to_bytes(8, sys.byteorder), 0)

    def release(self) -> None:
        os.close(self._file)


@dataclass(frozen=True)
class Slots:
    """The files. Nothing here waits for anybody."""

    folder: Path
    bound: float

    @property
    def _line(self) -> Path:
        return self.folder / "waiting"

    def join(self) -> Held:
        """A place at the end of the line."""
        self._line.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = max(self._numbers(), default=0)
        while True:
            number += 1
            if (place := Held.take(self._line / str(number))) is not None:
                return place

    def leave(self, place: Held) -> None:
        place.path.unlink(missing_ok=True)
        place.release()

    def before(self, place: Held) -> int:
        """How many who still live wait before this one. What the dead left is removed."""
        found = 0
        for number in self._numbers():
            path = self._line / str(number)
            if number >= int(place.path.name):
                continue
            if (left := Held.take(path)) is not None:
                self.leave(left)
            elif not self._silent(path):
                found += 1
        return found

    def take(self, most: int) -> tuple[Held | None, int]:
        """A free slot, if there is one, and how many are taken."""
        taken = number = 0
        while taken < most:
            path = self.folder / str(number)
            if (slot := Held.take(path)) is not None:
                return slot, taken
            taken += not self._silent(path)
            number += 1
        return None, taken

    def _numbers(self) -> list[int]:
        return sorted(int(name) for name in os.listdir(self._line) if name.isdecimal())

    def _silent(self, path: Path) -> bool:
        try:
            stamp = int.from_bytes(path.read_bytes(), sys.byteorder)
        except FileNotFoundError:
            return True
        return _now() - stamp > self.bound * 1e9


@dataclass
class BuildSlots:
    """`most` None: what the engine's host bears. `taken` is what `ports.Slot` promises."""

    engine: Engine
    folder: Path
    bound: float
    most: int | None = None
    _freed: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @asynccontextmanager
    async def taken(self, log: Callable[[list[str]], Awaitable[None]]) -> AsyncGenerator[None]:
        most = await self._most()
        slots = Slots(self.folder, self.bound)
        began = time.perf_counter()
        slot = await self._slot(slots, most, log)
        metrics.build_wait.observe(time.perf_counter() - began)
        try:
            async with _beating(slot, self.bound):
                yield
        finally:
            slot.release()
            self._freed.set()

    async def _slot(self, slots: Slots, most: int, log: Callable[[list[str]], Awaitable[None]]) -> Held:
        """In the order in which they came. What is done with files here takes microseconds."""
        place = slots.join()
        told, slot = -1, None
        try:
            async with _beating(place, self.bound):
                while True:
                    self._freed.clear()
                    before = slots.before(place)
                    slot, taken = slots.take(most) if not before else (None, most)
                    if slot is not None:
                        return slot
                    if before != told:
                        told = before
                        await log([waiting_line(taken, before)])
                    await self._until_freed()
        except BaseException:
            if slot is not None:  # cancelled on its way back
                slot.release()
            raise
        finally:
            slots.leave(place)
            self._freed.set()

    async def _until_freed(self) -> None:
        """Or until another process may have freed one."""
        try:
            async with asyncio.timeout(LOOK_AGAIN):
                await self._freed.wait()
        except TimeoutError:
            return

    async def _most(self) -> int:
        """Raises `EngineAway`."""
        if self.most is None:
            host = await self.engine.call("GET", "/info")
            self.most = slots_for(int(host["NCPU"]), int(host["MemTotal"]))
        return self.most


@asynccontextmanager
async def _beating(held: Held, bound: float) -> AsyncGenerator[None]:
    async def beat() -> None:
        while True:
            held.beat()
            await asyncio.sleep(bound / 4)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        await abandon(beating)


def _now() -> int:
    """Nanoseconds on the clock that children are watched by."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
