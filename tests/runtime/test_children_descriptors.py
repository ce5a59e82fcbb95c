"""What a child's output comes through is closed once, by whichever event loop reads it."""

import asyncio
import os
from collections.abc import Callable

import pytest
import uvloop

from libs.runtime.children import Children, Handed


def opened() -> int:
    """How many descriptors this process has open, the one among them that looks."""
    return len(os.listdir("/proc/self/fd"))


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


async def talk(times: int) -> None:
    for _ in range(times):
        async with Children().run(["/bin/echo", "hello"]) as child:
            assert [line async for line in child.lines()] == ["hello"]
            assert await child.wait() == 0


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_no_descriptor_is_left_behind(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(talk(1))
        before = opened()
        runner.run(talk(5))
        assert opened() == before


@pytest.mark.parametrize(("closed_by_loop", "closings"), [(True, 0), (False, 1)])
def test_a_descriptor_that_the_loop_closes_is_not_closed_again(closed_by_loop: bool, closings: int) -> None:
    output, said = os.pipe()
    handed = Handed(output, closed_by_loop=closed_by_loop)
    for _ in range(2):
        handed.close()
    assert is_open(output) is (closings == 0)
    for descriptor in [said] if closings else [said, output]:
        os.close(descriptor)


def test_uvloop_closes_a_descriptor_and_then_what_it_came_in() -> None:
    """The reason for `Handed`: should this fail one day, it is not needed any more."""
    found: list[bool] = []

    class Watched:
        def __init__(self, descriptor: int) -> None:
            self.descriptor = descriptor

        def fileno(self) -> int:
            return self.descriptor

        def close(self) -> None:
            found.append(is_open(self.descriptor))

    async def close() -> None:
        output, said = os.pipe()
        os.close(said)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(asyncio.Protocol, Watched(output))
        transport.close()
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(close())
    assert found == [False]
