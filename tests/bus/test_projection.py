"""A projection gets every message once and in order, whatever becomes of server, consumer and tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from faststream.nats import NatsBroker
from faststream.security import SASLPlaintext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from libs.contracts.streams import EVENTS, STATES
from libs.contracts.tools import ToolRecorded
from libs.runtime.bus.connecting import connect
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.projection import LEAVE, WATCH, Account, Projection, _leave
from libs.runtime.bus.stored import Kept
from tests.bus.cable import cable
from tests.bus.sketch import tool
from tests.status.stories import lost
from tests.support.nats_server import NATS_VERSIONS
from tests.support.stage import Stage, eventually, staged


@pytest.fixture(params=NATS_VERSIONS)
async def stage(request: pytest.FixtureRequest) -> AsyncGenerator[Stage]:
    async with staged(request.param) as stage:
        yield stage


@dataclass
class Table:
    """Keeps what it was given, and where it stands, as a database would."""

    name: str = "table-1"
    epoch: str | None = None
    position: int = 0
    taken: list[int] = field(default_factory=list[int])
    known: list[str] = field(default_factory=list[str])
    emptied: int = 0
    last: int = 0
    breaks: int = 0
    slow: float = 0.0

    async def stands_at(self, epoch: str) -> int | None:
        return self.position if self.epoch == epoch else None

    async def empty(self, epoch: str, position: int, known: Sequence[Kept]) -> None:
        self.epoch, self.position = epoch, position
        self.taken, self.known = [], [kept.subject for kept in known]
        self.emptied += 1

    async def take_in(self, messages: Sequence[Kept]) -> None:
        await asyncio.sleep(self.slow)
        if self.breaks:
            self.breaks -= 1
            raise OSError("the disk is full")
        self.taken += [kept.sequence for kept in messages]
        self.position = self.taken[-1]

    def heard_of(self, last: int) -> None:
        self.last = last


async def say(stage: Stage, count: int) -> None:
    for number in range(0, count, 100):
        together = min(100, count - number)
        await asyncio.gather(*(stage.witness.publish(EVENTS, lost(each)) for each in range(together)))


@asynccontextmanager
async def projecting(stage: Stage, bus: Bus, table: Table) -> AsyncGenerator[Projection]:
    account = Account(stage.server.url, "status", stage.server.password("status"), "status")
    projection = Projection(bus, account, EVENTS, STATES, table)
    running = asyncio.create_task(projection.run())
    try:
        yield projection
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def took(table: Table, numbers: Sequence[int]) -> None:
    await eventually(lambda: len(table.taken) >= len(numbers), "everything is projected")
    assert table.taken == list(numbers)


async def test_what_was_there_and_what_comes_is_projected_in_order(stage: Stage) -> None:
    status, table = await stage.bus("status"), Table()
    await say(stage, 700)
    async with projecting(stage, status, table):
        await say(stage, 300)
        await took(table, range(1, 1001))


async def test_a_new_event_is_projected_at_once(stage: Stage) -> None:
    status, table = await stage.bus("status"), Table()
    async with projecting(stage, status, table) as projection:
        await eventually(lambda: projection.problem is None, "it runs")
        await say(stage, 1)
        await took(table, [1])
        before = asyncio.get_running_loop().time()
        for number in range(2, 12):
            await say(stage, 1)
            await took(table, range(1, number + 1))
        assert asyncio.get_running_loop().time() - before < 2.0


async def test_a_stopped_projection_goes_on_where_its_tables_stand(stage: Stage) -> None:
    status, table = await stage.bus("status"), Table()
    await say(stage, 10)
    async with projecting(stage, status, table):
        await took(table, range(1, 11))
    await say(stage, 10)
    async with projecting(stage, status, table):
        await took(table, range(1, 21))
    assert table.emptied == 1


async def test_tables_that_went_back_are_brought_what_they_lost(stage: Stage) -> None:
    status, table = await stage.bus("status"), Table()
    await say(stage, 10)
    async with projecting(stage, status, table):
        await took(table, range(1, 11))
    table.position, table.taken = 4, [1, 2, 3, 4]
    async with projecting(stage, status, table):
        await took(table, range(1, 11))
    assert table.emptied == 1


async def test_a_killed_server_costs_no_event_and_repeats_none(stage: Stage) -> None:
    status, table = await stage.bus("status"), Table(slow=0.01)
    async with projecting(stage, status, table):
        for _ in range(3):
            saying = asyncio.create_task(say(stage, 500))
            await asyncio.sleep(0.05)
            await stage.crash()
            await saying
        await eventually(lambda: table.position == table.last and table.last >= 1500, "everything is projected")
    assert table.taken == list(range(1, table.last + 1))
    assert table.emptied == 1


async def test_a_deleted_consumer_is_made_again(stage: Stage) -> None:
    status, table = await stage.bus("status"), Table()
    async with projecting(stage, status, table) as projection:
        await eventually(lambda: projection.problem is None, "it runs")
        await say(stage, 5)
        await took(table, range(1, 6))
        await stage.witness.jetstream.delete_consumer("EVENTS", table.name)
        await say(stage, 5)
        await took(table, range(1, 11))
        await eventually(lambda: table.last == 10, "it goes on")
        await stage.has_readers("EVENTS", 1)


async def test_tables_that_fail_are_tried_again_and_the_failure_is_told(stage: Stage) -> None:
    status, table = await stage.bus("status"), Table(breaks=2)
    await say(stage, 5)
    async with projecting(stage, status, table) as projection:
        await eventually(lambda: "the disk is full" in (projection.problem or ""), "it tells")
        await took(table, range(1, 6))
        await eventually(lambda: projection.problem is None, "it is well again")


async def test_where_the_stream_does_not_go_back_to_its_start_the_last_states_are_taken(stage: Stage) -> None:
    status, table = await stage.bus("status"), Table()
    sample = tool("sample-aaaaaa", "sample")
    operation = f"op-{'a' * 26}"
    recorded = ToolRecorded(tool=sample.id, fence=3, operation=operation, state=sample)
    await stage.witness.publish(STATES, recorded)
    await say(stage, 10)
    await stage.witness.jetstream.purge_stream("EVENTS", seq=6)
    async with projecting(stage, status, table):
        await took(table, range(6, 11))
    assert table.known == [recorded.subject]


async def test_tables_that_are_further_behind_than_the_stream_goes_are_filled_anew(stage: Stage) -> None:
    status, table = await stage.bus("status"), Table()
    await say(stage, 3)
    async with projecting(stage, status, table):
        await took(table, range(1, 4))
    await say(stage, 10)
    await stage.witness.jetstream.purge_stream("EVENTS", seq=6)
    async with projecting(stage, status, table):
        await took(table, range(6, 14))
    assert table.emptied == 2


async def test_tables_of_a_stream_that_was_made_anew_are_filled_anew(stage: Stage) -> None:
    status, table = await stage.bus("status"), Table()
    await say(stage, 5)
    async with projecting(stage, status, table):
        await took(table, range(1, 6))
        config = (await stage.witness.jetstream.stream_info("EVENTS")).config
        await stage.witness.jetstream.delete_stream("EVENTS")
        await stage.witness.jetstream.add_stream(config)
        await say(stage, 8)
        await eventually(lambda: table.emptied == 2, "it is emptied")
        await took(table, range(1, 9))


async def test_a_message_missing_in_the_middle_of_the_stream_holds_nothing_up(stage: Stage) -> None:
    status, table = await stage.bus("status"), Table()
    await say(stage, 6)
    await stage.witness.jetstream.delete_msg("EVENTS", 3)
    async with projecting(stage, status, table):
        await took(table, [1, 2, 4, 5, 6])
    assert table.emptied == 1


async def test_messages_that_lie_with_a_reader_that_died_come_without_waiting_for_it(stage: Stage) -> None:
    """They were sent to the last life's inbox, and the server would keep them for it."""
    status, table = await stage.bus("status"), Table()
    await say(stage, 4)
    async with projecting(stage, status, table):
        await took(table, range(1, 5))
    config = ConsumerConfig(durable_name=table.name, ack_policy=AckPolicy.ALL, opt_start_seq=5)
    config.deliver_policy = DeliverPolicy.BY_START_SEQUENCE
    await stage.witness.jetstream.add_consumer("EVENTS", config)
    thief = await stage.witness.jetstream.pull_subscribe_bind(table.name, "EVENTS")
    await say(stage, 4)
    assert len(await thief.fetch(4, timeout=5)) == 4
    async with projecting(stage, status, table):
        await took(table, range(1, 9))


async def test_who_leaves_in_order_leaves_no_consumer(stage: Stage) -> None:
    status, table = await stage.bus("status"), Table()
    async with projecting(stage, status, table) as projection:
        await eventually(lambda: projection.problem is None, "it runs")
        assert await stage.readers("EVENTS") == [table.name]
    assert await stage.readers("EVENTS") == []


async def test_tables_that_others_fill_beyond_what_was_known_of_the_stream_are_not_emptied(stage: Stage) -> None:
    """Between looking at the stream and at the tables, another process went on."""

    class Shared(Table):
        async def stands_at(self, epoch: str) -> int | None:
            if self.epoch == epoch and self.position < 8:
                await say(stage, 4)
                self.position += 4
            return await super().stands_at(epoch)

    status, table = await stage.bus("status"), Shared()
    await say(stage, 4)
    async with projecting(stage, status, table):
        await took(table, range(1, 5))
    async with projecting(stage, status, table) as projection:
        await eventually(lambda: projection.problem is None, "it runs")
        await say(stage, 1)
        await took(table, [1, 2, 3, 4, 9])
    assert table.emptied == 1


async def test_messages_that_somebody_else_took_are_brought_again(stage: Stage) -> None:
    status, table = await stage.bus("status"), Table()
    async with projecting(stage, status, table) as projection:
        await eventually(lambda: projection.problem is None, "it runs")
        thief = await stage.witness.jetstream.pull_subscribe_bind(table.name, "EVENTS")
        stealing = asyncio.create_task(thief.fetch(5, timeout=3))
        for _ in range(40):
            await say(stage, 1)
            await asyncio.sleep(0.01)
        await asyncio.gather(stealing, return_exceptions=True)
        await took(table, range(1, 41))


async def test_once_a_line_that_was_dead_is_back_it_is_read_on_at_once_and_nothing_broke(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """Dead for so long that the projection was leaving its connection: the answer that comes late finds nobody."""
    table = Table()
    password = stage.server.password("status")
    async with cable(stage.server.port) as line, AsyncExitStack() as stack:
        status = await stack.enter_async_context(
            connect(line.url, user="status", password=password, service="status", source="status/far")
        )
        account = Account(line.url, "status", password, "status")
        projection = Projection(status, account, EVENTS, STATES, table)
        await say(stage, 4)
        running = asyncio.create_task(projection.run())
        try:
            await took(table, range(1, 5))
            await eventually(lambda: projection.problem is None, "it runs")
            line.cut()
            await say(stage, 4)
            # What asks about the consumer gives up after two seconds, and leaving begins.
            await asyncio.sleep(WATCH + 2 * LEAVE)
            line.mend()
            async with asyncio.timeout(8):
                await took(table, range(1, 9))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert [record for record in caplog.records if record.name.startswith("nats")] == []


async def test_who_leaves_while_nats_py_gives_up_the_same_line_is_not_cancelled_with_it(stage: Stage) -> None:
    """Whoever waits for the line to close waits for the same future, and one who is cancelled there cancels it."""
    broker = NatsBroker(stage.server.url, security=SASLPlaintext("status", stage.server.password("status")))
    client = await broker.connect()
    await broker.start()
    given_up = asyncio.create_task(client._transport.wait_closed())  # pyright: ignore
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait({given_up})
    stage.server.pause()  # so that nobody says goodbye, and the line is closed without it
    try:
        await _leave(broker, client)
    finally:
        stage.server.resume()
    assert client.is_closed
