"""How many builds run at once, over all processes that share a data folder, and who is next."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from services.orchestrator.adapters.build_slots import BuildSlots, Slots
from services.orchestrator.adapters.engine import Engine
from services.orchestrator.domain.build_slots import GIB, slots_for, waiting_line
from tests.support.stage import eventually

BOUND = 1.0
OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from services.orchestrator.adapters.build_slots import BuildSlots
from services.orchestrator.adapters.engine import Engine

async def nothing(lines): ...

async def hold():
    slots = BuildSlots(Engine(), Path(sys.argv[1]), float(sys.argv[2]), 1)
    async with slots.taken(nothing):
        print("taken", flush=True)
        await asyncio.Event().wait()

asyncio.run(hold())
"""


def slots_in(folder: Path, most: int) -> BuildSlots:
    return BuildSlots(Engine(), folder / "slots", BOUND, most)


class Build:
    """One that runs until it is let go."""

    def __init__(self, slots: BuildSlots) -> None:
        self.slots = range(slots.most or 0)
        self.said: list[str] = []
        self.runs = asyncio.Event()
        self.ends = asyncio.Event()
        self.task = asyncio.create_task(self._run(slots))

    async def _run(self, slots: BuildSlots) -> None:
        async with slots.taken(self._say):
            self.runs.set()
            await self.ends.wait()

    async def _say(self, lines: list[str]) -> None:
        self.said += lines

    async def end(self) -> None:
        self.ends.set()
        await self.task


@asynccontextmanager
async def in_time() -> AsyncGenerator[None]:
    async with asyncio.timeout(60):
        yield


async def waiting(build: Build, before: int) -> None:
    """Returns when it has said so."""
    await eventually(lambda: build.said[-1:] == [waiting_line(len(build.slots), before)], f"{before} before it", 60)


@contextmanager
def another_process(folder: Path) -> Generator[subprocess.Popen[str]]:
    """Has the one slot until it ends."""
    argv = [sys.executable, "-c", OTHER_PROCESS, str(folder / "slots"), str(BOUND)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "taken\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("cores", "memory", "slots"),
    [(1, 512, 1), (1, 1024, 1), (2, 2048, 2), (2, 25_000, 2), (8, 16_384, 4), (64, 8192, 8), (64, 262_144, 32)],
)
def test_a_host_bears_as_many_builds_as_its_cores_and_its_memory_do(cores: int, memory: int, slots: int):
    assert slots_for(cores, memory * GIB // 1024) == slots


@pytest.mark.parametrize(
    ("taken", "before", "said"),
    [
        (1, 0, "waits for a free build slot, 0 before it (1 build runs)"),
        (4, 2, "waits for a free build slot, 2 before it (4 builds run)"),
    ],
)
def test_who_waits_is_told_for_what(taken: int, before: int, said: str):
    assert waiting_line(taken, before) == said


async def test_no_more_run_than_there_are_slots_and_the_others_come_in_their_order(tmp_path: Path):
    async with in_time():
        builds: list[Build] = []
        for number in range(5):
            builds.append(Build(slots_in(tmp_path, 2)))
            await (builds[-1].runs.wait() if number < 2 else waiting(builds[-1], number - 2))
        for number in range(3):
            assert [build.runs.is_set() for build in builds] == [each < number + 2 for each in range(5)]
            await builds[number].end()
            await builds[number + 2].runs.wait()
            if number < 2:
                await waiting(builds[4], 1 - number)
        assert builds[0].said == []
        assert builds[4].said == [waiting_line(2, before) for before in (2, 1, 0)]
        await asyncio.gather(*(build.end() for build in builds))


async def test_who_is_cancelled_while_it_waits_makes_room_for_those_behind(tmp_path: Path):
    async with in_time():
        slots = slots_in(tmp_path, 1)
        first, second, third = (Build(slots) for _ in range(3))
        await first.runs.wait()
        await waiting(third, 1)
        second.task.cancel()
        await waiting(third, 0)
        await first.end()
        await third.runs.wait()
        await third.end()
        assert not second.runs.is_set()
        assert os.listdir(tmp_path / "slots" / "waiting") == []


async def test_who_is_cancelled_as_it_takes_a_slot_gives_it_back(tmp_path: Path):
    async with in_time():
        slots = slots_in(tmp_path, 1)
        for ticks in range(1, 7):
            build = Build(slots)
            for _ in range(ticks):
                await asyncio.sleep(0)
            build.task.cancel()
            await asyncio.gather(build.task, return_exceptions=True)
            free, _ = Slots(slots.folder, BOUND).take(1)
            assert free is not None, f"cancelled after {ticks} ticks, it has its slot still"
            free.release()


async def test_a_build_that_fails_gives_its_slot_back(tmp_path: Path):
    async with in_time():
        slots = slots_in(tmp_path, 1)
        with pytest.raises(RuntimeError):
            async with slots.taken(nothing):
                raise RuntimeError("the build failed")
        async with slots.taken(nothing):
            pass


async def test_a_process_that_was_killed_has_no_slot_any_more(tmp_path: Path):
    async with in_time():
        with another_process(tmp_path) as other:
            build = Build(slots_in(tmp_path, 1))
            await waiting(build, 0)
            assert not build.runs.is_set()
            other.kill()
            await build.runs.wait()
            await build.end()


async def test_a_process_that_was_stopped_keeps_nobody_waiting_once_its_build_is_ended(tmp_path: Path):
    """Its watchdog does that within the same bound."""
    async with in_time():
        with another_process(tmp_path) as other:
            other.send_signal(signal.SIGSTOP)
            build = Build(slots_in(tmp_path, 1))
            await build.runs.wait()
            await build.end()


async def test_one_that_waits_and_one_that_builds_stay_in_place_for_longer_than_the_bound(tmp_path: Path):
    """They are alive: their silence is nobody else's reason to step in."""
    async with in_time(), AsyncExitStack() as stack:
        builds = [Build(slots_in(tmp_path, 1)) for _ in range(3)]
        for build in builds:
            stack.callback(build.task.cancel)
        await builds[0].runs.wait()
        await waiting(builds[2], 1)
        await asyncio.sleep(2 * BOUND)
        assert [build.runs.is_set() for build in builds] == [True, False, False]


async def nothing(_: list[str]) -> None:
    return None
