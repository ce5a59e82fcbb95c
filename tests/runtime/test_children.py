"""Child processes, real ones: they say what they say, end when they must, and leave nothing behind."""

import asyncio
import os
import secrets
import time
from pathlib import Path

import pytest
import uvloop

from libs.runtime.children import LONGEST_LINE, Child, Children, OutputTooLong, OwnerGone
from tests.support.processes import MARK, marked, resident, until, zombies_of

STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
DOUBLE_FORK = "(setsid sh -c 'setsid sleep 1000 & exit' &); (setsid sleep 1000 &); echo ready; sleep 1000"


@pytest.fixture
def children() -> Children:
    return Children(bound=2.0, heartbeat=0.4)


@pytest.fixture
def mark() -> str:
    return secrets.token_hex(8)


def environment(mark: str) -> dict[str, str]:
    return {**os.environ, MARK: mark}


async def said(child: Child) -> list[str]:
    return [line async for line in child.lines()]


async def first_line(child: Child) -> str:
    async for line in child.lines():
        return line
    raise AssertionError("the child said nothing")


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -TERM $$", 143), ("kill -PIPE $$", 141)],
)
async def test_a_child_ends_with_its_own_exit_code(children: Children, script: str, code: int):
    assert await children.output(["sh", "-c", script]) == (code, "")


async def test_a_program_that_is_missing_is_named(children: Children):
    code, text = await children.output(["no-such-program"])
    assert (code, text) == (127, "cannot start no-such-program: No such file or directory\n")


async def test_output_and_errors_come_as_one_in_order(children: Children):
    async with children.run(["sh", "-c", "echo a; echo b >&2; printf 'c\\rd\\r\\ne'"]) as child:
        assert await said(child) == ["a", "b", "c", "d", "e"]
        assert await child.wait() == 0


async def test_a_line_is_handed_on_while_the_child_still_runs(children: Children):
    async with children.run(["sh", "-c", "echo now; sleep 1000"]) as child:
        assert await asyncio.wait_for(first_line(child), 2) == "now"


async def test_bytes_that_are_no_text_and_endless_lines_do_no_harm(children: Children):
    script = f"printf '\\377ok\\n'; head -c {3 * LONGEST_LINE + 5} /dev/zero | tr '\\0' x"
    async with children.run(["sh", "-c", script]) as child:
        lines = await said(child)
    assert lines[0] == "\ufffdok"
    assert [len(line) for line in lines[1:]] == [LONGEST_LINE] * 3 + [5]


async def test_a_child_reads_a_file_bytes_or_nothing(children: Children, tmp_path: Path):
    (tmp_path / "in").write_bytes(b"from a file")
    many = b"x" * 1_000_000
    for stdin, expected in ((tmp_path / "in", "from a file"), (many, many.decode()), (None, "")):
        async with children.run(["cat"], stdin=stdin) as child:
            assert await child.raw(2_000_000) == expected.encode()


async def test_environment_and_folder_are_exactly_those_given(children: Children, tmp_path: Path):
    code, text = await children.output(["/usr/bin/env", "pwd"], env={"PATH": os.environ["PATH"]}, cwd=tmp_path)
    assert (code, text) == (0, f"{tmp_path}\n")
    code, text = await children.output(["/usr/bin/env"], env={"ONE": "a=b\nc"}, cwd=tmp_path)
    assert (code, text) == (0, "ONE=a=b\nc\n")


async def test_standard_output_can_go_to_a_file_with_errors_still_heard(children: Children, tmp_path: Path):
    async with children.run(["sh", "-c", "echo kept; echo heard >&2"], stdout=tmp_path / "out") as child:
        assert await said(child) == ["heard"]
    assert (tmp_path / "out").read_text() == "kept\n"


async def test_too_much_output_to_hold_is_refused_with_its_measure(children: Children):
    with pytest.raises(OutputTooLong, match="seq wrote more than 1000 bytes"):
        await children.output(["seq", "100000"], most=1000)


async def test_waiting_alone_never_blocks_a_talkative_child(children: Children):
    async with children.run(["seq", "200000"]) as child:
        assert await asyncio.wait_for(child.wait(), 10) == 0


async def test_leaving_the_context_ends_the_child_and_its_children(children: Children, mark: str):
    async with children.run(["sh", "-c", "sleep 1000 & sleep 1000 & echo ready; wait"], env=environment(mark)) as child:
        await first_line(child)
        await until(lambda: len(marked(mark)) == 4)  # the last may not have become what it will be
        left = time.monotonic()
    assert time.monotonic() - left < 0.5
    assert marked(mark) == []


async def test_a_child_that_ignores_sigterm_is_ended_within_about_a_second(mark: str):
    async with Children().run(["sh", "-c", STUBBORN], env=environment(mark)) as child:
        await first_line(child)
        left = time.monotonic()
    assert 0.9 < time.monotonic() - left < 2.0
    assert marked(mark) == []


async def test_descendants_that_left_group_and_session_are_ended_too(children: Children, mark: str):
    async with children.run(["sh", "-c", DOUBLE_FORK], env=environment(mark)) as child:
        await first_line(child)
        await until(lambda: len(marked(mark)) == 5)
    assert marked(mark) == []


async def test_what_a_child_leaves_running_behind_it_ends_with_it(children: Children, mark: str):
    async with children.run(["sh", "-c", "(setsid sleep 1000 &); exit 4"], env=environment(mark)) as child:
        assert await asyncio.wait_for(child.wait(), 5) == 4
        assert marked(mark) == []


async def test_cancelling_ends_everything_even_if_cancelled_again(mark: str):
    children = Children()
    ready = asyncio.Event()

    async def work() -> None:
        async with children.run(["sh", "-c", STUBBORN], env=environment(mark)) as child:
            await first_line(child)
            ready.set()
            await child.wait()

    task = asyncio.create_task(work())
    await ready.wait()
    task.cancel()
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: marked(mark) == [], within=2.0)
    await until(lambda: zombies_of(os.getpid()) == [], within=2.0)


async def test_a_child_whose_owner_is_no_longer_the_owner_is_ended_within_the_bound(mark: str):
    children = Children(bound=1.0, heartbeat=0.2)
    ours = True
    async with children.run(["sh", "-c", STUBBORN], env=environment(mark), alive=lambda: ours) as child:
        await first_line(child)
        await asyncio.sleep(1.5)
        assert len(marked(mark)) > 1
        ours = False
        assert await until(lambda: marked(mark) == [], within=1.3) > 0.5
        lines = await said(child)
        assert await child.wait() == 137
    assert lines[-1].startswith("sh was ended: no sign of life from its owner for 0.")


async def test_nothing_is_started_for_an_owner_that_is_gone(children: Children, mark: str):
    with pytest.raises(OwnerGone, match="sh was not started"):
        async with children.run(["sh"], env=environment(mark), alive=lambda: False):
            pass
    assert marked(mark) == []


async def test_a_million_lines_pass_through_in_flat_memory(children: Children):
    async with children.run(["seq", "1000000"]) as child:
        count, before = 0, 0
        async for _ in child.lines():
            count += 1
            if count == 10_000:
                before = resident()
        assert count == 1_000_000
        assert await child.wait() == 0
    assert resident() - before < 8 * 1024 * 1024


async def test_a_reader_that_pauses_holds_the_child_up_instead_of_filling_memory(children: Children):
    async with children.run(["yes"]) as child:
        await first_line(child)
        before = resident()
        await asyncio.sleep(0.5)
        assert resident() - before < 2 * 1024 * 1024


async def test_many_children_leave_neither_zombies_nor_descriptors(children: Children):
    await children.output(["true"])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await asyncio.gather(*(children.output(["sh", "-c", "sleep 0 & exit 1"]) for _ in range(6)))
    with pytest.raises(FileNotFoundError):
        await children.output(["true"], cwd=Path("/no/such/folder"))
    await until(lambda: len(os.listdir("/proc/self/fd")) <= before)
    assert zombies_of(os.getpid()) == []


def test_a_heartbeat_too_slow_for_the_bound_is_refused():
    with pytest.raises(ValueError, match="a heartbeat every 5 s keeps no child alive"):
        Children(bound=6, heartbeat=5)


def test_children_live_and_end_the_same_on_uvloop(mark: str):
    async def on_uvloop() -> None:
        children = Children(bound=2.0, heartbeat=0.4)
        assert await children.output(["sh", "-c", "echo a; exit 3"]) == (3, "a\n")
        async with children.run(["sh", "-c", DOUBLE_FORK], env=environment(mark)) as child:
            await first_line(child)
            await asyncio.sleep(3)
            assert len(marked(mark)) == 5
        assert marked(mark) == []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(on_uvloop())
