"""The tables made anew while they serve: the same comes out, and whoever asks meanwhile notices nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from libs.contracts.envelope import Message
from libs.contracts.queries import ListOperations, ListTools, ShowOperation, ShowRebuild
from libs.contracts.streams import EVENTS, STATES
from libs.contracts.tools import ToolRecorded, ToolState
from libs.contracts.views import Page, ToolView
from services.status.adapters.databases import Database, File, Server
from services.status.domain.entries import ToolEntry
from tests.status.rebuilds import begun, dumped, ended, execute, nothing_is_kept_twice, rebuilt, tell
from tests.status.service import Running, status_service
from tests.status.stories import Operation, connected, lost, observed, tool
from tests.support.stage import Stage, eventually, staged

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def stage() -> AsyncGenerator[Stage]:
    async with staged() as stage:
        yield stage


@pytest.fixture(params=["file", "server"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "file":
        return File(tmp_path / "data" / "status" / "status.db")
    server: Server = request.getfixturevalue("server")
    return server


@pytest.fixture
async def status(stage: Stage, tmp_path: Path, database: Database) -> AsyncGenerator[Running]:
    url = database.url.render_as_string(hide_password=False) if isinstance(database, Server) else None
    given: dict[str, Any] = {} if url is None else {"status_database": url}
    async with status_service(stage, tmp_path / "data", **given) as running:
        yield running


def history(tools: int, first: int = 1, *, engine_away: bool = True) -> list[Message]:
    """Everything that happens to tools, from this sequence on: installed, failed, seen to die, stopped, removed."""
    told: list[Message] = []
    for number in range(tools):
        name = f"tool{number:04}"
        install, stop, away = Operation(name=name), Operation("stop", name), Operation("uninstall", name)
        fence = first + len(told) + 1
        told += [install.accepted(number), install.started(1, number), install.begins("build", fence)]
        told += [install.ends("build", fence), install.succeeded(fence, tool(name), number)]
        told.append(observed(name, ToolState.DEGRADED, judged_by=first + len(told) - 1))
        if number % 3 == 0:
            fence = first + len(told) + 1
            told += [stop.accepted(number), stop.started(1, number), stop.failed(fence)]
        if number % 7 == 0:
            fence = first + len(told) + 1
            told += [away.accepted(number), away.started(1, number), away.succeeded(fence, None)]
        if number % 11 == 0:
            told += [Operation("restart", name).accepted(number)]
        if engine_away and number == tools // 2:
            told += [lost(), connected()]
    return told


async def shown(status: Running, position: int) -> list[ToolView]:
    found: list[ToolView] = []
    after: str | None = None
    while True:
        page: Page = await status.ask(ListTools(limit=500, after=after, position=position))
        found += page.tools
        after = page.next
        if after is None:
            return found


async def tools_counted(status: Running) -> float:
    """As the metrics tell it."""
    text = (await status.http.client.get("/metrics")).text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("machete_tools{"))


async def test_the_same_rows_come_out(status: Running, stage: Stage, database: Database) -> None:
    position = await tell(stage, history(400))
    await shown(status, position)
    before = dumped(database)
    done = await rebuilt(status.gateway)
    assert dumped(database) == before
    assert (done.differed, done.dropped, done.forgotten) == (0, 0, 0)
    assert (done.position, done.up_to) == (position, position)
    assert (done.tools, done.operations) == (
        sum(not gone for _, _, gone, _ in before["tools"]),
        len(before["operations"]),
    )
    assert done.requested_by == "user:admin"
    await eventually(lambda: nothing_is_kept_twice(database), "the second tables are emptied")


async def test_rows_that_were_wrong_missing_or_invented_are_right_afterwards(
    status: Running, stage: Stage, database: Database
) -> None:
    await shown(status, await tell(stage, history(50)))
    before = dumped(database)
    some = [row[0] for row in before["operations"]]
    execute(
        database,
        "UPDATE tools SET gone = NOT gone WHERE name = 'tool0001'",
        f"DELETE FROM operations WHERE id IN ('{some[0]}', '{some[1]}')",
        "INSERT INTO engines (name, body) VALUES ('nowhere', '{\"name\": \"nowhere\"}')",
    )
    counted = await tools_counted(status)
    done = await rebuilt(status.gateway)
    assert dumped(database) == before
    assert (done.differed, done.dropped) == (3, 1)

    async def counts_again() -> bool:
        return await tools_counted(status) == counted + 1

    await eventually(counts_again, "the tool that was hidden is counted again")


async def test_questions_are_answered_rightly_all_the_while(status: Running, stage: Stage) -> None:
    """What was told is there, all of it, and nothing else; also while more of it comes."""
    story = history(150)
    position = await tell(stage, story)
    names = {view.name for view in await shown(status, position)}
    stop = asyncio.Event()

    async def ask() -> int:
        asked = 0
        while not stop.is_set():
            assert names <= {view.name for view in await shown(status, position)}
            page: Page = await status.ask(ListOperations(limit=500, tool="tool0003"))
            assert [view.kind for view in page.operations] == ["stop", "install"]
            asked += 1
        return asked

    async def go_on() -> int:
        told = 0
        while not stop.is_set():
            operation = Operation("restart", "tool0001", number=told + 1)
            accepted = await status.say(operation.accepted())
            seen = await status.ask(ShowOperation(operation=operation.id, position=accepted))
            assert seen.state == "accepted"
            told += 1
        return told

    working = [asyncio.create_task(each) for each in (ask(), ask(), go_on())]
    for _ in range(6):
        done = await rebuilt(status.gateway)
        assert (done.differed, done.dropped) == (0, 0)
    stop.set()
    assert min(await asyncio.gather(*working)) > 0


async def test_events_that_come_faster_than_they_are_read_do_not_keep_it_from_ending(
    status: Running, stage: Stage, database: Database
) -> None:
    telling = asyncio.create_task(tell(stage, history(1500)))
    await eventually(lambda: len(dumped(database)["operations"]) > 20, "some of it is shown")
    first = await rebuilt(status.gateway)
    assert not telling.done()
    position = await telling
    await shown(status, position)
    before = dumped(database)
    assert (await rebuilt(status.gateway)).id != first.id
    assert dumped(database) == before


async def test_asked_for_twice_it_runs_once(status: Running, stage: Stage) -> None:
    await tell(stage, history(300))
    both = await asyncio.gather(begun(status.gateway), begun(status.gateway))
    assert len({each.id for each in both}) == 1
    assert (await ended(status.gateway, both[0])).state == "succeeded"
    refused = await status.refused(ShowRebuild(rebuild="rb-nothing"))
    assert refused[:2] == (404, "rebuild_not_found")
    assert (await rebuilt(status.gateway)).id != both[0].id
    assert (await status.refused(ShowRebuild(rebuild=both[0].id)))[0] == 404


async def test_events_that_are_not_kept_any_more_cost_operations_and_no_tool(
    status: Running, stage: Stage, database: Database
) -> None:
    """STATE has every tool's last state for ever; of what the events said before, only that is left."""
    position = await tell(stage, history(60, engine_away=False))
    before = {view.id: view for view in await shown(status, position)}
    entries = [ToolEntry.model_validate_json(row[3]) for row in dumped(database)["tools"]]
    recorded = {entry.id: entry for entry in entries if not entry.gone and entry.tool is not None}
    assert set(recorded) == set(before)
    for entry in recorded.values():
        said = ToolRecorded(
            tool=entry.id, fence=entry.recorded, operation=Operation(name=entry.name).id, state=entry.tool
        )
        await stage.witness.publish(STATES, said)
    purged = position // 2
    async with stage.connected("platform") as platform:
        await platform.jetstream.purge_stream(EVENTS.name, seq=purged + 1)
    kept = [row for row in dumped(database)["operations"] if row[5] > purged]
    done = await rebuilt(status.gateway)
    assert (done.forgotten, done.operations) == (purged, len(kept))
    after = {view.id: view for view in await shown(status, position)}
    assert set(after) == set(before)
    for id, view in after.items():
        still_told = recorded[id].seen > purged
        assert view.state is (before[id].state if still_told else ToolState.RUNNING)
        assert (view.release, view.source, view.urls) == (before[id].release, before[id].source, before[id].urls)
    assert [row[0] for row in dumped(database)["operations"]] == [row[0] for row in kept]
