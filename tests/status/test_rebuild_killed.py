"""A rebuild whose process is killed or frozen in the middle comes to its end all the same, and costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from libs.contracts.queries import ListTools
from libs.contracts.views import Page, RebuildView
from libs.runtime.bus.connection import Bus
from services.status.adapters.databases import Database, File, Opened, Server, is_locked
from services.status.adapters.rebuilds import rebuild_of
from services.status.domain.entries import RebuildEntry
from tests.status.rebuilds import begun, dumped, ended, execute, nothing_is_kept_twice, tell
from tests.status.test_rebuild import history
from tests.status.test_replicas import ENDED_BADLY, PROCESSES_START_WITHIN, Asker, Replica, replicas
from tests.support.stage import Stage, eventually, staged

pytestmark = pytest.mark.timeout(300)
TOOLS = 800


@pytest.fixture
async def stage() -> AsyncGenerator[Stage]:
    async with staged() as stage:
        yield stage


async def filled(stage: Stage, gateway: Bus, database: Database) -> None:
    """A long story is shown; one row of it wrongly, so that only a rebuild that ends makes it right."""
    position = await tell(stage, history(TOOLS))

    async def shown() -> bool:
        return await Asker(gateway).ask(ListTools(limit=1, position=position)) is not None

    await eventually(shown, "all of it is shown", PROCESSES_START_WITHIN)
    spoil(database)


def spoil(database: Database) -> None:
    execute(database, "UPDATE tools SET name = 'wrong' WHERE name = 'tool0001'")


async def in_the_middle(stack: AsyncExitStack, gateway: Bus, database: Database) -> RebuildView:
    """One that has come some way, and can come no further as long as the stack holds the tables.

    How far it is shows only once they are held; of those that were over by then another is begun.
    """
    opened = database.open()
    stack.callback(opened.close)
    rebuild = await begun(gateway)
    async with asyncio.timeout(120):
        while True:
            with ExitStack() as held:
                entry = entry_held(held, opened, database)
                if entry is not None and entry.state == "running" and entry.position > 0:
                    stack.push(held.pop_all())
                    return rebuild
            if entry is not None and entry.state != "running":
                assert entry.state == "succeeded", entry.reason
                spoil(database)
                rebuild = await begun(gateway)
            await asyncio.sleep(0.002)


def entry_held(held: ExitStack, opened: Opened, database: Database) -> RebuildEntry | None:
    """The last rebuild as it stands, and stands still as long as the stack is there; None when it cannot be had now."""
    try:
        connection = held.enter_context(opened.changing.begin())
        if isinstance(database, Server):
            connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        found = rebuild_of(connection, locked=True)
    except DBAPIError as problem:
        if not is_locked(problem):
            raise
        return None
    return None if found is None else found.entry


async def right_in_the_end(gateway: Bus, database: Database, rebuild: RebuildView) -> None:
    done = await ended(gateway, rebuild, 120)
    assert done.state == "succeeded", done.reason
    assert done.id == rebuild.id
    rows = {row[1] for row in dumped(database)["tools"]}
    assert rows == {f"tool{number:04}" for number in range(TOOLS)}
    await eventually(lambda: nothing_is_kept_twice(database), "the second tables are emptied")


class Alone(Replica):
    """Over a file in its own folder."""

    def environment(self) -> dict[str, str]:
        return {name: value for name, value in super().environment().items() if name != "MACHETE_STATUS_DATABASE"}


async def test_over_a_file_it_goes_on_when_the_killed_process_is_started_again(stage: Stage, tmp_path: Path) -> None:
    one = Alone(tmp_path / "one", stage, "")
    database = File(one.folder / "status" / "status.db")
    gateway = await stage.bus("gateway")
    one.start()
    try:
        await stage.has_readers("EVENTS", 1)
        await filled(stage, gateway, database)
        async with AsyncExitStack() as stack:
            rebuild = await in_the_middle(stack, gateway, database)
            await one.kill()
        assert "wrong" in {row[1] for row in dumped(database)["tools"]}
        one.start()
        await right_in_the_end(gateway, database, rebuild)
        assert ENDED_BADLY not in one.said
    finally:
        await one.kill()


async def test_another_replica_takes_over_from_one_that_was_killed_or_froze(
    stage: Stage, postgres_url: str, tmp_path: Path
) -> None:
    """Meanwhile the other one answers from the old tables; the one that froze does no harm when it wakes up."""
    database = Server(make_url(postgres_url))
    gateway = await stage.bus("gateway")
    async with replicas(stage, postgres_url, tmp_path, 2) as both:
        await filled(stage, gateway, database)
        for cut in ("freeze", "kill"):
            async with AsyncExitStack() as stack:
                rebuild = await in_the_middle(stack, gateway, database)
                worker = next(each for each in both if rebuild.id in each.said)
                worker.freeze()
                if cut == "kill":
                    await worker.kill()
            page: Page | None = None
            while page is None:
                page = await Asker(gateway).ask(ListTools(limit=500))
            assert len(page.tools) == 500
            await right_in_the_end(gateway, database, rebuild)
            if cut == "freeze":
                worker.wake()
                await asyncio.sleep(1.0)  # for whatever harm it would do
                await right_in_the_end(gateway, database, rebuild)
                spoil(database)
        assert ENDED_BADLY not in both[0].said + both[1].said
