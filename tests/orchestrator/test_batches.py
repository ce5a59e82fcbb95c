import asyncio
from collections.abc import AsyncIterator

import pytest

from services.orchestrator.adapters.batches import LINES_HELD, in_batches


async def many(count: int) -> AsyncIterator[str]:
    for number in range(count):
        yield str(number)


async def test_all_lines_come_in_order_and_many_at_once():
    batches = [batch async for batch in in_batches(many(100_000))]
    assert [line for batch in batches for line in batch] == [str(number) for number in range(100_000)]
    assert len(batches) < 1000


async def test_a_slow_reader_slows_the_source():
    produced = 0

    async def endless() -> AsyncIterator[str]:
        nonlocal produced
        while True:
            produced += 1
            yield "line"

    batches = in_batches(endless())
    await anext(batches)
    await asyncio.sleep(0.01)
    assert produced <= 2 * LINES_HELD
    await batches.aclose()


async def test_a_line_does_not_wait_for_the_next():
    async def one_and_a_long_pause() -> AsyncIterator[str]:
        yield "first"
        await asyncio.sleep(60)

    batches = in_batches(one_and_a_long_pause())
    assert await asyncio.wait_for(anext(batches), 1) == ["first"]
    await batches.aclose()


async def test_a_source_that_fails_is_heard():
    async def broken() -> AsyncIterator[str]:
        yield "first"
        raise RuntimeError("broken pipe")

    batches = in_batches(broken())
    assert await anext(batches) == ["first"]
    with pytest.raises(RuntimeError, match="broken pipe"):
        await anext(batches)
