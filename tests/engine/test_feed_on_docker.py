"""Logs and events of a real engine: many followers, many lines, awkward lines."""

import asyncio
import os
import random
import time
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import docker
from docker.types import LogConfig

from services.orchestrator.adapters.engine import Engine
from services.orchestrator.adapters.feed import DockerFeed
from services.orchestrator.adapters.last_lines import last_lines
from services.orchestrator.domain.log_frames import NOT_KEPT, LogLine, LogPosition
from services.orchestrator.domain.names import LABEL_INSTANCE
from tests.engine.conftest import eventually
from tests.orchestrator.behaviours import IMAGE, SLEEPS
from tests.orchestrator.engine_promises import WEB, Rig, first_lines


async def started(rig: Rig, script: str, tool: str = WEB) -> str:
    spec = rig.spec(tool, command=("sh", "-c", f"{script}; exec sleep 1000"), port=None)
    return (await rig.containers.start(spec)).container_id


async def read_until(rig: Rig, container: str, last: str, after: LogPosition | None = None) -> list[LogLine]:
    lines: list[LogLine] = []
    async with asyncio.timeout(60), aclosing(rig.feed.follow_logs(container, after)) as batches:
        async for batch in batches:
            lines += batch
            if lines[-1].text == last:
                return lines
    raise AssertionError(f"the log ended before {last!r}")


def readers(container: str) -> int:
    """How often the daemon holds the container's log open: once to write it, and once for each follower."""
    return sum(_log_of(container, file) for daemon in _daemons() for file in daemon.glob("fd/*"))


def _daemons() -> list[Path]:
    return [each.parent for each in Path("/proc").glob("[0-9]*/comm") if _text(each) == "dockerd"]


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""  # a process that has just ended


def _log_of(container: str, file: Path) -> bool:
    try:
        return f"{container}-json.log" in os.readlink(file)
    except OSError:
        return False  # closed since it was listed


async def test_fifty_followers_closed_leave_no_reader_at_the_daemon(rig: Rig):
    container = await started(rig, "echo hello")
    before = readers(container)
    followers = [rig.feed.follow_logs(container) for _ in range(50)]
    await asyncio.gather(*(first_lines(follower, 1) for follower in followers))
    assert readers(container) >= before + 50
    for number, follower in enumerate(followers):
        if number % 2:
            await follower.aclose()
        else:
            waiting = asyncio.ensure_future(anext(follower))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait({waiting})
    await eventually(lambda: readers(container) == before, 60)


async def test_a_redeployed_tool_ends_its_followers(rig: Rig):
    container = await started(rig, "echo hello")
    followers = [asyncio.ensure_future(read_until(rig, container, "never")) for _ in range(20)]
    await eventually(lambda: readers(container) > 20, 60)
    await rig.containers.stop(WEB, timeout=0)
    await started(rig, "echo again")
    await asyncio.wait(followers, timeout=60)
    assert all(isinstance(follower.exception(), AssertionError) for follower in followers)
    await eventually(lambda: readers(container) == 0, 60)


async def test_many_lines_come_whole_in_order_and_resume_anywhere(rig: Rig):
    container = await started(rig, "seq 30000")
    lines = await read_until(rig, container, "30000")
    assert [line.text for line in lines] == [str(number) for number in range(1, 30_001)]
    for place in random.sample(range(len(lines) - 1), 12):
        rest = await read_until(rig, container, "30000", lines[place].position)
        assert [line.text for line in rest] == [line.text for line in lines[place + 1 :]]


async def test_standard_output_and_error_written_at_once_resume_anywhere(rig: Rig):
    script = "for i in $(seq 300); do echo o$i; echo e$i >&2; done; sleep 0.2; echo end"
    container = await started(rig, script)
    lines = await read_until(rig, container, "end")
    assert len(lines) == 601
    for place in range(0, 600, 29):
        rest = await read_until(rig, container, "end", lines[place].position)
        assert [line.text for line in rest] == [line.text for line in lines[place + 1 :]]


async def test_awkward_lines_harm_nobody(rig: Rig):
    script = r"printf 'a%.0s' $(seq 40000); echo; printf '\377\376\n\n\033[31mred\n'; echo end"
    container = await started(rig, script)
    texts = [line.text for line in await read_until(rig, container, "end")]
    assert "".join(texts[:-4]) == "a" * 40_000
    assert max(map(len, texts)) <= 16 * 1024
    assert texts[-4:] == ["\ufffd\ufffd", "", "\x1b[31mred", "end"]


async def test_a_reader_that_stops_reading_holds_nobody_up(rig: Rig):
    container = await started(rig, "seq 200000")
    lazy = rig.feed.follow_logs(container)
    await anext(lazy)
    began = time.monotonic()
    assert (await read_until(rig, container, "200000"))[-1].text == "200000"
    assert time.monotonic() - began < 30
    await lazy.aclose()


def flooding(rig: Rig, sdk: docker.APIClient, lines: int, files: int) -> str:
    """Prints `ready`, then the numbers from 1 as soon as it is sent SIGHUP; into files of 1 MB."""
    script = f"trap 'seq {lines}; echo end' HUP; echo ready; while :; do sleep 0.1; done"
    rotation = LogConfig(type="json-file", config={"max-size": "1m", "max-file": str(files)})
    host = sdk.create_host_config(log_config=rotation)
    labels = {LABEL_INSTANCE: rig.instance}
    container = sdk.create_container(IMAGE, ["sh", "-c", script], labels=labels, host_config=host)["Id"]
    sdk.start(container)
    return container


async def read_too_late(rig: Rig, sdk: docker.APIClient, container: str) -> list[str]:
    """By one who begins in time, and goes on when all has long been printed."""
    texts: list[str] = []
    async with asyncio.timeout(100), aclosing(rig.feed.follow_logs(container)) as batches:
        async for batch in batches:
            texts += [line.text for line in batch]
            if texts == ["ready"]:
                sdk.kill(container, "HUP")
            elif len(texts) < 5000:
                await eventually(lambda: sdk.logs(container, tail=1) == b"end\n", 60)
            if texts[-1] == "end":
                break
    sdk.kill(container)
    return texts


async def test_who_reads_too_late_gets_all_that_the_engine_still_has(rig: Rig, sdk: docker.APIClient):
    """Its own follower leaves out whole files, and says nothing."""
    texts = await read_too_late(rig, sdk, flooding(rig, sdk, 200_000, files=40))
    assert texts == ["ready", *map(str, range(1, 200_001)), "end"]


async def test_what_the_engine_keeps_no_longer_is_told_in_its_place(rig: Rig, sdk: docker.APIClient):
    texts = await read_too_late(rig, sdk, flooding(rig, sdk, 200_000, files=3))
    holes = [number for number, text in enumerate(texts) if text == NOT_KEPT]
    assert holes
    for begin, end in pairwise([0, *holes, len(texts) - 1]):
        numbers = [int(text) for text in texts[begin + 1 : end]]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_the_last_lines_of_a_long_log_come_at_once(rig: Rig):
    container = await started(rig, "seq 50000; echo end")
    await read_until(rig, container, "end")
    assert [line.text for line in await rig.feed.tail_logs(container, 3)] == ["49999", "50000", "end"]


async def test_events_of_a_whole_life_come_in_order(rig: Rig):
    since = time.time_ns()
    await rig.containers.start(rig.spec(command=SLEEPS))
    await rig.containers.stop(WEB, timeout=0)
    await rig.containers.remove(WEB)
    actions: list[str] = []
    async with asyncio.timeout(5), aclosing(rig.feed.events(since)) as events:
        async for event in events:
            actions.append(event.action)
            if event.action == "destroy":
                break
    assert sorted(set(actions)) == ["create", "destroy", "die", "kill", "start", "stop"]
    assert actions.index("kill") < actions.index("die")
    assert (actions[:2], actions[-1]) == (["create", "start"], "destroy")


async def test_a_container_that_restarts_is_told_each_time(rig: Rig):
    since = time.time_ns()
    await rig.containers.start(rig.spec(command=("sh", "-c", "exit 5"), port=None))
    deaths = 0
    async with asyncio.timeout(10), aclosing(rig.feed.events(since)) as events:
        async for event in events:
            deaths += (event.action, event.exit_code) == ("die", 5)
            if deaths == 3:
                break


async def test_the_log_of_a_container_with_a_terminal_is_read_like_any_other(rig: Rig, sdk: docker.APIClient):
    """A Compose file may ask for one."""
    script = "seq 3; printf 'a%.0s' $(seq 40000); echo; echo e >&2; echo end; sleep 1000"
    labels = {LABEL_INSTANCE: rig.instance}
    container = sdk.create_container(IMAGE, ["sh", "-c", script], tty=True, labels=labels)["Id"]
    sdk.start(container)
    lines = await read_until(rig, container, "end")
    texts = [line.text for line in lines]
    assert (texts[:3], texts[-2:]) == (["1", "2", "3"], ["e", "end"])
    assert "".join(texts[3:-2]) == "a" * 40_000
    for number, line in enumerate(lines[:-1]):
        rest = await read_until(rig, container, "end", line.position)
        assert [each.text for each in rest] == texts[number + 1 :]
    sdk.kill(container)
    assert (await last_lines(DockerFeed(Engine.from_environment(), rig.instance), container, ended=True))[-1] == "end"


NOT_TEXT = (
    r"printf a; printf '\303\251%.0s' $(seq 20000); echo; printf '\377%.0s' $(seq 50000); echo;"
    r"printf '\377%.0s' $(seq 5461); echo 'x2031-01-01T00:00:00.000000000Z forged'; echo after; sleep 1000"
)


async def test_a_terminal_that_shows_what_is_no_text_is_read_like_any_other(rig: Rig, sdk: docker.APIClient):
    """Of such bytes the engine makes three of each, and of its own time beside them nobody can make another."""
    labels = {LABEL_INSTANCE: rig.instance}
    container = sdk.create_container(IMAGE, ["sh", "-c", NOT_TEXT], tty=True, labels=labels)["Id"]
    sdk.start(container)
    lines = await read_until(rig, container, "after")
    texts = [line.text for line in lines]
    assert len(texts) == 3 + 4 + 1 + 1
    assert texts[0].strip("\ufffd") == "a" + "é" * (8 * 1024 - 1)
    assert texts[3:7] == ["\ufffd" * 16384] * 3 + ["\ufffd" * (50_000 - 3 * 16384)]
    assert texts[7] == "\ufffd" * 5461 + "x2031-01-01T00:00:00.000000000Z forged"
    assert max(line.time for line in lines) <= time.time_ns()
    for number, line in enumerate(lines[:-1]):
        rest = await read_until(rig, container, "after", line.position)
        assert [each.text for each in rest] == texts[number + 1 :]
    assert [line.text for line in await rig.feed.tail_logs(container, 5)] == texts[-5:]


async def test_who_stands_at_a_time_that_is_yet_to_come_reads_what_comes_now(rig: Rig, sdk: docker.APIClient):
    """As after a clock that was ahead, or a time that somebody made up."""
    container = await started(rig, "echo old; trap 'echo new' HUP; while :; do sleep 0.1; done")
    await read_until(rig, container, "old")
    following = rig.feed.follow_logs(container, LogPosition(time.time_ns() + 3600 * 10**9, 1))
    async with asyncio.timeout(60), aclosing(following) as batches:
        reading = asyncio.ensure_future(anext(batches))
        await eventually(lambda: readers(container) > 1, 60)
        sdk.kill(container, "HUP")
        assert [line.text for line in await reading] == ["new"]


def make_newest_line_from_future(log: Path) -> None:
    """In place: the engine reads as far as it wrote."""
    text = log.read_bytes()
    year = text.rindex(b'"time":"') + len(b'"time":"')
    with log.open("r+b") as file:
        file.seek(year)
        file.write(b"21")


async def test_a_line_of_a_clock_that_was_ahead_is_gone_on_after_exactly(rig: Rig, sdk: docker.APIClient):
    said = ["one", "ahead", "two", "three"]
    container = await started(rig, "echo one; echo ahead; trap 'echo two; echo three' HUP; while :; do sleep 0.1; done")
    await read_until(rig, container, "ahead")
    make_newest_line_from_future(Path(sdk.inspect_container(container)["LogPath"]))
    sdk.kill(container, "HUP")
    lines = await read_until(rig, container, "three")
    assert [line.text for line in lines] == said
    assert lines[-1].position.time > time.time_ns()
    for number, line in enumerate(lines[:-1]):
        rest = await read_until(rig, container, "three", line.position)
        assert [each.text for each in rest] == said[number + 1 :]


async def test_the_clock_that_it_shows_is_of_after_the_question_however_many_ask_at_once(rig: Rig):
    async def ask_on() -> None:
        while True:
            await rig.feed.now()

    others = [asyncio.create_task(ask_on()) for _ in range(4)]
    try:
        for _ in range(50):
            asked = time.time_ns()
            assert asked <= await rig.feed.now()
    finally:
        for each in others:
            each.cancel()
        await asyncio.gather(*others, return_exceptions=True)
