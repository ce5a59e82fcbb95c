"""The status service, wired."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from libs.contracts.names import random_word
from libs.contracts.streams import EVENTS, LOGS, STATES
from libs.runtime import scrape
from libs.runtime.bus.backlog import fill
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.projection import Account, Projection
from libs.runtime.bus.quorum import nats_checks
from libs.runtime.bus.reader import asked_of, extent
from libs.runtime.bus.session import session
from libs.runtime.cancellation import lasting
from libs.runtime.health import Check
from libs.runtime.http.problems import Problem
from libs.runtime.service import Service
from services.status.adapters.databases import Database, File, Server
from services.status.adapters.rebuilds import DatabaseRebuilds
from services.status.adapters.second_tables import second_tables
from services.status.adapters.tables import DatabaseTables
from services.status.api import Views, routes
from services.status.board import Board
from services.status.census import Census
from services.status.descriptions import Describing
from services.status.domain.open_streams import OpenStreams
from services.status.feeds import Feeds
from services.status.forgetting import Forgetting
from services.status.frames import Encoder
from services.status.handlers import Answers
from services.status.live import Shared
from services.status.lookup import Lookup
from services.status.ports import TablesAway
from services.status.progress import Progress
from services.status.projector import Projector
from services.status.rebuilding import Rebuilding
from services.status.settings import Settings
from services.status.tokens import Tellers

NAME = "status"
# Seconds without progress after which another replica's rebuild is taken over. Of a file there are no replicas.
ABANDONED_AFTER = 15.0


@dataclass(frozen=True)
class _Running:
    bus: Bus
    tables: DatabaseTables
    projection: Projection
    progress: Progress
    views: Views


def build(settings: Settings) -> Service:
    running: list[_Running] = []

    def there() -> _Running:
        if not running:
            raise Problem(503, "starting", "Not ready yet", "the status service is starting; try again in a moment")
        return running[0]

    @asynccontextmanager
    async def run() -> AsyncGenerator[None]:
        database, name = _database_of(settings), f"{NAME}-{random_word(8)}"
        async with session(settings, NAME) as connected, _tables(database) as tables, asyncio.TaskGroup() as group:
            bus, progress = connected.bus, Progress()
            # Each process reads the whole stream, also where several fill the same tables.
            projector = Projector(tables, progress, name)
            user, password = settings.nats_credentials(NAME)
            account = Account(settings.nats_url, user, password, NAME)
            projection = Projection(bus, account, EVENTS, STATES, projector)
            lookup = Lookup(tables, progress, partial(_newest, bus))
            rebuilding = Rebuilding(
                bus,
                DatabaseRebuilds(tables.transactions),
                progress,
                partial(second_tables, database),
                name,
                abandoned_after=0.0 if settings.database_url is None else ABANDONED_AFTER,
            )
            table = {**Answers(lookup).table(), **Describing(lookup, bus).table(), **rebuilding.table()}
            for question, respond in table.items():
                await bus.answer(question, respond, queue=NAME)
            board, forgetting = Board(tables, progress), Forgetting(bus, tables)
            parts = [each.run() for each in (projection, rebuilding, board, forgetting)]
            working = [group.create_task(lasting(each)) for each in parts]
            opened = OpenStreams(settings.streams_per_principal)
            views = Views(bus, lookup, Shared(bus, Feeds(bus), board, Encoder()), opened)
            running.append(_Running(bus, tables, projection, progress, views))
            try:
                with scrape.looked_up(Census(tables, progress).look), scrape.looked_up(fill(bus, LOGS)):
                    yield
            finally:
                running.clear()
                for task in working:
                    task.cancel()

    async def health() -> Sequence[Check]:
        return await _health(there()) if running else [Check("nats", False, "not started")]

    tellers = Tellers(lambda: there().bus)
    return Service(
        name=NAME,
        routes=routes(lambda: there().views),
        run=run,
        health=health,
        authenticate=tellers.authenticate,
    )


def _database_of(settings: Settings) -> Database:
    url = settings.database_url
    return File(settings.database) if url is None else Server(url)


@asynccontextmanager
async def _tables(database: Database) -> AsyncGenerator[DatabaseTables]:
    """The database need not be there yet."""
    tables = DatabaseTables(database)
    try:
        yield tables
    finally:
        await tables.close()


async def _newest(bus: Bus) -> int:
    with asked_of(EVENTS):
        return (await extent(bus, EVENTS)).last


async def _database(tables: DatabaseTables) -> Check:
    try:
        await tables.probe()
    except TablesAway as away:
        return Check("database", False, str(away))
    return Check("database", True, tables.label)


async def _health(there: _Running) -> Sequence[Check]:
    nats, database = await asyncio.gather(nats_checks(there.bus, EVENTS), _database(there.tables))
    behind = max(0, there.progress.last - there.progress.position)
    problem = there.projection.problem
    well = problem is None and there.progress.complete
    return [*nats, database, Check("projection", well, problem or f"{behind} events behind")]
