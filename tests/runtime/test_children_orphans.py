"""What becomes of children whose platform is killed, paused or hangs, or whose watchdog dies."""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.processes import MARK, marked, state_of, until, zombies_of

ROOT = Path(__file__).parents[2]
BOUND = 1.2
PLATFORM = f"""
import asyncio, os, sys, time
from libs.runtime.children import Children

async def main():
    children = Children(bound={BOUND}, heartbeat=0.2)
    async with children.run(["sh", "-c", sys.argv[1]], env={{**os.environ, "{MARK}": sys.argv[2]}}) as child:
        async for line in child.lines():
            print(child.pid, line, flush=True)
            if line == "hang":
                time.sleep(1000)
        print("ended", await child.wait(), flush=True)

asyncio.run(main())
"""
FAMILY = "trap '' TERM; (setsid sleep 1000 &); sleep 1000 & echo ready; while :; do sleep 0.1; done"


@pytest.fixture
def mark() -> str:
    return secrets.token_hex(8)


@asynccontextmanager
async def platform(script: str, mark: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A python process that runs `script` as its child; the script's lines come after the watchdog's pid."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PLATFORM, script, mark, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line_of(process: asyncio.subprocess.Process) -> list[str]:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 10)).decode().split(maxsplit=1)


async def test_kill_9_of_the_platform_ends_its_childrens_whole_family(mark: str):
    async with platform(FAMILY, mark) as parent:
        await line_of(parent)
        await until(lambda: len(marked(mark)) >= 4)
        parent.kill()
        await parent.wait()
        await until(lambda: marked(mark) == [], within=BOUND)


async def test_a_platform_paused_past_the_bound_finds_its_children_ended_when_it_wakes(mark: str):
    async with platform(FAMILY, mark) as parent:
        await line_of(parent)
        parent.send_signal(signal.SIGSTOP)
        waited = await until(lambda: len(marked(mark)) == 0, within=BOUND + 0.5)
        assert waited > BOUND / 2
        parent.send_signal(signal.SIGCONT)
        reason = " ".join((await line_of(parent))[1:])
        assert reason.startswith("sh was ended: no sign of life from its owner for ")
        assert await line_of(parent) == ["ended", "137\n"]
        assert zombies_of(parent.pid) == []


async def test_a_platform_paused_more_briefly_keeps_its_children(mark: str):
    async with platform(FAMILY, mark) as parent:
        await line_of(parent)
        for _ in range(4):
            parent.send_signal(signal.SIGSTOP)
            await asyncio.sleep(BOUND / 3)
            parent.send_signal(signal.SIGCONT)
            await asyncio.sleep(BOUND / 3)
        assert len(marked(mark)) >= 4


async def test_a_platform_whose_loop_hangs_loses_its_children(mark: str):
    async with platform("trap '' TERM; echo hang; while :; do sleep 0.1; done", mark) as parent:
        await line_of(parent)
        await until(lambda: marked(mark) == [], within=BOUND + 0.5)
        assert parent.returncode is None


async def test_watchdog_and_platform_killed_together_leave_no_child(mark: str):
    async with platform("echo ready; exec sleep 1000", mark) as parent:
        watchdog = int((await line_of(parent))[0])
        assert len(marked(mark)) == 2
        os.kill(watchdog, signal.SIGSTOP)
        parent.kill()
        os.kill(watchdog, signal.SIGKILL)
        await until(lambda: marked(mark) == [], within=1.0)


async def test_kill_9_of_a_watchdog_ends_what_it_watched_and_is_reported(mark: str):
    async with platform("sleep 1000 & echo ready; sleep 1000", mark) as parent:
        watchdog = int((await line_of(parent))[0])
        os.kill(watchdog, signal.SIGKILL)
        await until(lambda: marked(mark) == [], within=1.0)
        assert await line_of(parent) == ["ended", "137\n"]
        assert zombies_of(parent.pid) == []


async def test_sigterm_to_a_watchdog_ends_its_family_in_order(mark: str):
    async with platform("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done", mark) as parent:
        watchdog = int((await line_of(parent))[0])
        os.kill(watchdog, signal.SIGTERM)
        said: list[str] = []  # with a word of the shell on the `sleep` that was ended too, or without
        while not said or not said[-1].startswith("sh was ended"):
            said.append((await line_of(parent))[1])
        assert said[-2:] == ["bye\n", "sh was ended: told to end\n"]
        assert await line_of(parent) == ["ended", "7\n"]
        assert state_of(watchdog) is None


async def test_a_whole_family_frozen_past_the_bound_ends_as_soon_as_it_thaws(mark: str):
    """As with a paused container or a machine that slept: no beat that was written before counts after it."""
    async with platform("echo ready; while :; do sleep 0.1; done", mark) as parent:
        watchdog = int((await line_of(parent))[0])
        os.kill(watchdog, signal.SIGSTOP)
        parent.send_signal(signal.SIGSTOP)
        await asyncio.sleep(BOUND)
        os.kill(watchdog, signal.SIGCONT)
        await until(lambda: marked(mark) == [], within=BOUND / 2)
