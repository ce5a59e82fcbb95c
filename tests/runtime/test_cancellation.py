"""A cancelled task hears of it, whatever happens in the same moment."""

import asyncio

import pytest

import libs.runtime  # noqa: F401  (makes wait_for keep cancellations)
from libs.runtime.cancellation import CancelledByNobody, lasting


async def test_a_cancellation_in_the_moment_of_the_result_is_not_lost():
    result: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(_waits(result))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    result.set_result(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_was_waited_for_in_vain_is_cancelled_and_the_waiter_is_told():
    never = asyncio.get_running_loop().create_future()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(never, 0.01)
    assert never.cancelled()


async def test_a_result_in_time_is_handed_on():
    assert await asyncio.wait_for(_seven(), 5) == 7


async def test_what_is_cancelled_with_what_it_waited_for_breaks_its_group():
    shared: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def waited_for_by_two() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(lasting(_awaits(shared)))
            another = asyncio.create_task(_awaits(shared))
            await asyncio.sleep(0)
            another.cancel()

    with pytest.raises(BaseExceptionGroup) as broke:
        await waited_for_by_two()
    (problem,) = broke.value.exceptions
    assert isinstance(problem, CancelledByNobody)
    assert str(problem) == "_awaits was cancelled together with what it waited for"


async def test_what_is_told_to_end_ends_without_a_word():
    async with asyncio.TaskGroup() as group:
        task = group.create_task(lasting(asyncio.sleep(60)))
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()


async def _awaits(result: asyncio.Future[int]) -> int:
    return await result


async def _waits(result: asyncio.Future[int]) -> int:
    return await asyncio.wait_for(result, 5)


async def _seven() -> int:
    await asyncio.sleep(0)
    return 7
