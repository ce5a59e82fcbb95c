"""What is shown of all tools follows the tables wherever they go: also back, and also where no event says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import update

from libs.contracts.envelope import Message
from libs.contracts.tools import ToolState
from libs.runtime.bus.reader import Replaced
from services.status import board
from services.status.adapters.rows import SHOWN
from services.status.adapters.tables import DatabaseTables
from services.status.board import Board, Watch
from services.status.domain.entries import ToolEntry
from services.status.progress import Progress
from tests.status.kept import stored
from tests.status.stories import Operation, observed, tool, tool_named
from tests.support.stage import eventually

EPOCH = "2026-01-01T00:00:00+00:00"


class Scene:
    def __init__(self, tables: DatabaseTables) -> None:
        self.tables = tables
        self.progress = Progress()
        self.board = Board(tables, self.progress)

    async def begin(self) -> None:
        await self.tables.stands_at("")
        await self.tables.empty(EPOCH, 0, ())
        self.progress.begun_at(0)
        self.progress.heard_of(0)

    async def happen(self, *events: Message) -> int:
        messages = stored(events, self.progress.position + 1)
        about = await self.tables.take_in(messages)
        self.progress.came_to(messages[-1].sequence, about.operations, about.tools)
        return messages[-1].sequence

    async def install(self, *names: str) -> int:
        last = 0
        for name in names:
            operation = Operation(name=name)
            last = await self.happen(operation.accepted(), operation.started(), operation.succeeded(2, tool(name)))
        return last

    async def remove(self, *names: str) -> int:
        last = 0
        for name in names:
            operation, fence = Operation("uninstall", name), self.progress.position + 2
            last = await self.happen(operation.accepted(), operation.started(), operation.succeeded(fence, None))
        return last


@asynccontextmanager
async def staged(tables: DatabaseTables) -> AsyncGenerator[Scene]:
    scene = Scene(tables)
    await scene.begin()
    running = asyncio.create_task(scene.board.run())
    try:
        yield scene
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def news(watch: Watch, position: int | None = None) -> tuple[int | None, dict[str, Any]]:
    """The next that there is."""
    found: list[tuple[int | None, str]] = []

    async def something() -> bool:
        found.extend(await watch.news(position))
        return bool(found)

    await eventually(something, "something is shown", within=60.0)
    assert len(found) == 1
    return found[0][0], json.loads(found[0][1])


def names(body: dict[str, Any]) -> list[str]:
    return sorted(each["name"] for each in body["tools"])


async def test_tables_that_are_filled_anew_send_who_watches_away_and_then_are_shown_whole(
    tables: DatabaseTables,
) -> None:
    async with staged(tables) as scene:
        last = await scene.install("one", "two")
        with scene.board.watched(None, lambda: None) as watch:
            assert (await news(watch))[0] == last
            await scene.begin()
            with pytest.raises(Replaced):
                await watch.news(last)
            await scene.install("two")
            with scene.board.watched(None, lambda: None) as again:
                _, body = await news(again)
        assert (body["whole"], names(body)) == (True, ["two"])


async def test_what_a_rebuild_mended_is_shown_to_all_also_where_no_event_came_since(tables: DatabaseTables) -> None:
    async with staged(tables) as scene:
        last = await scene.install("one", "two")
        with scene.board.watched(None, lambda: None) as watch:
            await news(watch)
            entry = await tables.tool("one")
            assert entry is not None
            mended = ToolEntry.model_validate({**entry.entry.model_dump(), "gone": True})
            rows = SHOWN.tools
            await tables.transactions.change(
                lambda connection: connection.execute(
                    update(rows).where(rows.c.id == mended.id).values(gone=True, body=mended.model_dump_json())
                )
            )
            scene.progress.rebuilt = "rb-1"
            at, body = await news(watch, last)
            assert (at, body["gone"]) == (last, [tool_named("one")])
            with scene.board.watched(None, lambda: None) as back:
                _, whole = await news(back, last)
            assert (whole["whole"], names(whole)) == (True, ["two"])


async def test_while_nobody_watches_nothing_is_read_and_who_comes_then_sees_what_is(tables: DatabaseTables) -> None:
    async with staged(tables) as scene:
        last = await scene.install("one", "two")
        with scene.board.watched(None, lambda: None) as watch:
            await news(watch)
        version = scene.board.version
        await scene.happen(observed("one", ToolState.FAILED))
        await scene.happen(observed("one", ToolState.DEGRADED))
        assert scene.board.version == version
        with scene.board.watched(None, lambda: None) as back:
            at, body = await news(back, last)
        assert at == last + 2
        assert [(each["name"], each["state"]) for each in body["tools"]] == [("one", "degraded")]
        assert body["whole"] is False


async def test_a_removal_is_told_however_many_were_before_it(
    tables: DatabaseTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "MOST_GONE", 1)
    async with staged(tables) as scene:
        with scene.board.watched(None, lambda: None) as watch:
            await news(watch)
            for name in "abc":
                await scene.install(name)
                await news(watch)
            for name in "cba":
                await scene.remove(name)
                _, body = await news(watch)
                assert (body["whole"], body["gone"]) == (False, [tool_named(name)])


async def test_who_missed_more_removals_than_are_remembered_is_shown_what_is_left(
    tables: DatabaseTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "MOST_GONE", 1)
    async with staged(tables) as scene:
        await scene.install("a", "b", "c", "d")
        with scene.board.watched(None, lambda: None) as slow, scene.board.watched(None, lambda: None) as prompt:
            await news(slow)
            await news(prompt)
            for name in "ab":
                last = await scene.remove(name)
                await news(prompt)
            at, body = await news(slow)
            assert (at, body["whole"], names(body)) == (last, True, ["c", "d"])
            await scene.remove("c")
            _, body = await news(slow)
            assert (body["whole"], body["gone"]) == (False, [tool_named("c")])
