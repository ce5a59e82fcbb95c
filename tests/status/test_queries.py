"""What is answered about tools and operations, and when."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from libs.contracts.queries import ListOperations, ListTools, ShowOperation, ShowTool
from libs.contracts.tools import ToolState
from libs.contracts.views import OperationView, Page, ToolView
from libs.runtime.bus.stored import Kept
from services.status.adapters.tables import DatabaseTables
from services.status.ports import About
from tests.status.service import Running, status_service
from tests.status.stories import Operation, lost, observed, tool, tool_named
from tests.support.postgres import PostgresServer
from tests.support.stage import Stage, eventually, staged


@pytest.fixture(scope="module", params=["file", "server"])
def given(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What a service is told of its database."""
    if request.param == "file":
        yield {}
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.database()
    yield {"status_database": url}
    server.drop(url)


@pytest.fixture(scope="module")
async def stage(given: dict[str, Any]) -> AsyncGenerator[Stage]:
    async with staged() as stage:
        yield stage


@pytest.fixture(scope="module")
async def status(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory, given: dict[str, Any]
) -> AsyncGenerator[Running]:
    async with status_service(stage, tmp_path_factory.mktemp("data"), **given) as running:
        yield running


async def install(status: Running, name: str, *, state: ToolState = ToolState.RUNNING) -> int:
    """A tool that was installed; the position of its last event."""
    operation = Operation(name=name)
    await status.say(operation.accepted())
    fence = await status.say(operation.started())
    return await status.say(operation.succeeded(fence, tool(name, state)))


async def test_who_asks_with_the_position_of_what_he_did_sees_it(status: Running) -> None:
    for number in range(20):
        operation = Operation(name=f"quick{number}")
        position = await status.say(operation.accepted())
        seen: OperationView = await status.ask(ShowOperation(operation=operation.id, position=position))
        assert seen.state == "accepted"
        shown: ToolView = await status.ask(ShowTool(tool=f"quick{number}", position=position))
        assert (shown.state, shown.operation) == ("pending", operation.id)


@pytest.fixture
def held_back(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Nothing comes into the tables before it is set."""
    go, take_in = asyncio.Event(), DatabaseTables.take_in

    async def later(tables: DatabaseTables, messages: Sequence[Kept]) -> About:
        await go.wait()
        return await take_in(tables, messages)

    monkeypatch.setattr(DatabaseTables, "take_in", later)
    return go


@pytest.mark.parametrize("wait", [0, 20])
async def test_who_asks_right_after_he_did_it_and_without_a_position_finds_it(
    status: Running, held_back: asyncio.Event, wait: float
) -> None:
    name = f"at-once-{wait:g}"
    operation = Operation(name=name)
    await status.say(operation.accepted())
    asked = [
        asyncio.create_task(status.ask(question))
        for question in (
            ShowTool(tool=name),
            ShowTool(tool=operation.tool),
            ShowOperation(operation=operation.id, wait=wait),
            ListOperations(tool=name),
        )
    ]
    await asyncio.sleep(0.3)
    assert not any(task.done() for task in asked)
    await status.say(operation.succeeded(await status.say(operation.started()), tool(name)))
    held_back.set()
    async with asyncio.timeout(5):
        by_name, by_id, shown, listed = await asyncio.gather(*asked)
    assert {by_name.id, by_id.id} == {operation.tool}
    assert [each.id for each in listed.operations] == [shown.id] == [operation.id]


async def test_what_was_done_and_is_not_shown_for_long_is_not_said_to_be_missing(
    status: Running, held_back: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.status.lookup.PATIENCE", 0.2)
    operation = Operation(name="later")
    await status.say(operation.accepted())
    for question in (ShowTool(tool="later"), ShowOperation(operation=operation.id), ListOperations(tool="later")):
        code, word, text = await status.refused(question)
        assert (code, word) == (503, "projection_behind")
        assert re.search(r"\b[1-9]\d* events? behind", text), text
    held_back.set()


async def test_a_position_that_nobody_was_told_is_refused(status: Running) -> None:
    position = await install(status, "behind")
    code, word, text = await status.refused(ShowTool(tool="behind", position=position + 1000))
    assert (code, word) == (400, "position_unknown")
    assert {str(position), str(position + 1000)} <= set(re.findall(r"\d+", text))


async def test_waiting_for_an_operation_ends_with_it(status: Running) -> None:
    operation = Operation(name="waited")
    await status.say(operation.accepted())
    fence = await status.say(operation.started())
    waiting = asyncio.create_task(status.ask(ShowOperation(operation=operation.id, wait=30, position=fence)))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await status.say(operation.begins("build", fence))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await status.say(operation.succeeded(fence, tool("waited")))
    async with asyncio.timeout(5):
        assert (await waiting).state == "succeeded"


async def test_waiting_ends_when_the_time_is_over(status: Running) -> None:
    operation = Operation(name="endless")
    position = await status.say(operation.accepted())
    seen = await status.ask(ShowOperation(operation=operation.id, wait=0.2, position=position))
    assert seen.state == "accepted"


async def test_what_is_not_there_is_named_and_what_is_near_it(status: Running) -> None:
    position = await install(status, "grafana")
    code, word, text = await status.refused(ShowTool(tool="grafan", position=position))
    assert (code, word) == (404, "tool_not_found")
    assert text == 'There is no tool "grafan"; did you mean grafana?'
    missing = f"op-{'a' * 26}"
    code, word, text = await status.refused(ShowOperation(operation=missing))
    assert (code, word) == (404, "operation_not_found")
    assert missing in text
    code, word, _ = await status.refused(ListOperations(tool="grafan"))
    assert (code, word) == (404, "tool_not_found")


async def test_tools_come_page_by_page_each_once(status: Running) -> None:
    names = [f"paged{number:02}" for number in range(7)]
    for name in names:
        position = await install(status, name)
    found: list[str] = []
    after: str | None = None
    while True:
        page: Page = await status.ask(ListTools(limit=3, after=after, position=position))
        assert len(page.tools) <= 3
        found += [view.name for view in page.tools]
        after = page.next
        if after is None:
            break
    assert [name for name in found if name.startswith("paged")] == names
    assert found == sorted(set(found))


async def test_operations_come_newest_first_page_by_page(status: Running) -> None:
    operations = [Operation("restart", "many", number=number) for number in range(1, 6)]
    for operation in operations:
        position = await status.say(operation.accepted())
    first: Page = await status.ask(ListOperations(tool="many", limit=3, position=position))
    assert first.next is not None
    second: Page = await status.ask(ListOperations(tool="many", limit=3, after=first.next))
    assert second.next is None
    found = [view.id for view in (*first.operations, *second.operations)]
    assert found == [operation.id for operation in reversed(operations)]


async def test_operations_outlive_their_tool_and_are_found_by_its_name_and_id(status: Running) -> None:
    uninstall = Operation("uninstall", "shortlived")
    await install(status, "shortlived")
    await status.say(uninstall.accepted())
    fence = await status.say(uninstall.started())
    position = await status.say(uninstall.succeeded(fence, None))
    assert (await status.refused(ShowTool(tool="shortlived", position=position)))[0] == 404
    for word in ("shortlived", tool_named("shortlived")):
        page: Page = await status.ask(ListOperations(tool=word))
        assert [view.kind for view in page.operations] == ["uninstall", "install"]


async def test_cursors_and_states_that_do_not_exist_are_told(status: Running) -> None:
    assert (await status.refused(ListTools(after="nonsense")))[:2] == (400, "cursor_invalid")
    assert (await status.refused(ListTools(after="WzEsMl0")))[:2] == (400, "cursor_invalid")
    assert (await status.refused(ListOperations(after="WzEsMl0")))[:2] == (400, "cursor_invalid")
    code, word, text = await status.refused(ListOperations(state="done"))
    assert (code, word) == (400, "state_invalid")
    assert '"done"' in text
    assert "succeeded" in text


async def test_what_the_engine_does_shows(status: Running) -> None:
    await install(status, "watched")
    position = await status.say(observed("watched", seconds=100))
    view: ToolView = await status.ask(ShowTool(tool="watched", position=position))
    assert (view.state, view.reason) == ("failed", "main was killed")
    position = await status.say(lost())
    view = await status.ask(ShowTool(tool="watched", position=position))
    assert view.state == "unknown"


async def test_a_lost_database_is_filled_again_from_the_events(tmp_path: Path) -> None:
    async with staged() as stage:
        async with status_service(stage, tmp_path / "first") as status:
            for number in range(30):
                position = await install(status, f"tool{number:02}")
            position = await status.say(observed("tool07"))
            before = await status.ask(ListTools(position=position)), await status.ask(ListOperations())
        async with status_service(stage, tmp_path / "second") as status:
            after = await status.ask(ListTools(position=position)), await status.ask(ListOperations())
        async with status_service(stage, tmp_path / "first") as status:
            again = await status.ask(ListTools(position=position)), await status.ask(ListOperations())
    assert len(before[0].tools) == len(before[1].operations) == 30
    assert before == after == again


async def test_the_health_tells_of_nats_database_and_projection(status: Running) -> None:
    async def is_told() -> bool:
        report = (await status.http.stranger.get("/api/health")).json()
        checks = report["services"]["status"]["checks"]
        assert set(checks) == {"nats", "database", "projection"}
        return all(check["ok"] for check in checks.values())

    await eventually(is_told, "all is well, the tables filled")


async def test_the_projections_lag_is_measured(status: Running) -> None:
    async def is_none() -> bool:
        text = (await status.http.client.get("/metrics")).text
        return 'machete_projection_lag_events{projection="status"} 0.0' in text

    await eventually(is_none, "there is no lag once the tables are filled")
