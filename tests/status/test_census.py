"""The census counts what people see, once it is complete, and no more often than something happens."""

from __future__ import annotations

from collections.abc import Sequence

from libs.contracts.envelope import Message
from libs.contracts.tools import ToolState
from libs.runtime import metrics
from services.status.adapters.tables import DatabaseTables
from services.status.census import PAGE, Census
from services.status.progress import Progress
from tests.status.kept import stored
from tests.status.stories import Operation, lost, tool

EPOCH = "2026-01-01T00:00:00+00:00"


async def take_in(tables: DatabaseTables, progress: Progress, messages: Sequence[Message]) -> None:
    kept = stored(messages, progress.position + 1)
    await tables.take_in(kept)
    progress.heard_of(kept[-1].sequence)
    progress.came_to(kept[-1].sequence, ())


async def counted(census: Census) -> dict[str, float]:
    """Without the states that no tool is in."""
    readings = await census.look()
    assert {gauge for gauge, _, _ in readings} <= {metrics.tools}
    return {state: number for _, (state,), number in readings if number}


async def test_tools_are_counted_by_the_state_that_is_shown_over_pages(tables: DatabaseTables) -> None:
    progress = Progress()
    await tables.empty(EPOCH, 0, ())
    census = Census(tables, progress)
    running = [tool(f"run{number:03}") for number in range(PAGE + 1)]
    story: list[Message] = []
    for each in (*running, tool("still", ToolState.STOPPED)):
        install = Operation("install", each.name)
        story += [install.accepted(), install.started()]
        story.append(install.succeeded(len(story), each))
    await take_in(tables, progress, [*story, Operation("install", "new").accepted()])
    assert await counted(census) == {"running": PAGE + 1, "stopped": 1, "pending": 1}
    assert {state for _, (state,), _ in await census.look()} == {str(state) for state in ToolState}
    await take_in(tables, progress, [lost()])
    assert await counted(census) == {"unknown": PAGE + 2, "pending": 1}


async def test_nothing_is_said_before_all_that_happened_is_in_the_tables(tables: DatabaseTables) -> None:
    progress = Progress()
    await tables.empty(EPOCH, 0, ())
    progress.heard_of(5)
    assert await Census(tables, progress).look() == []


async def test_nothing_is_counted_anew_while_nothing_happens(tables: DatabaseTables) -> None:
    progress = Progress()
    await tables.empty(EPOCH, 0, ())
    census = Census(tables, progress)
    await take_in(tables, progress, [Operation("install", "one").accepted()])
    assert await counted(census) == {"pending": 1}
    await tables.empty(EPOCH, 0, ())
    assert await counted(census) == {"pending": 1}, "asked the tables although nobody told of anything new"
    progress.came_to(progress.position + 1, ())
    assert await counted(census) == {}


async def test_it_is_counted_anew_after_a_rebuild(tables: DatabaseTables) -> None:
    """Which may have put right what was wrong without anything having happened."""
    progress = Progress()
    await tables.empty(EPOCH, 0, ())
    census = Census(tables, progress)
    await take_in(tables, progress, [Operation("install", "one").accepted()])
    assert await counted(census) == {"pending": 1}
    await tables.empty(EPOCH, 0, ())
    progress.rebuilt = "rb-one"
    assert await counted(census) == {}
