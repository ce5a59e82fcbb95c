"""Feeding a projection: every message of a stream, in order, to tables that know how far they have come.

What is there already is read in large batches; from then on FastStream brings each message as it comes. The
position that the tables hold decides what a message is worth: the durable consumer is no more than a view from
there, made again at every start and whenever anything may be missing.

FastStream's own batches (`batch=True`) wait for a full one or for their timeout: with 20 ms of it, 3 % of a
core went into asking. So messages are taken one by one and put together here, as many as there are.
"""

# nats-py and FastStream leave the types of their keyword parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from faststream.security import SASLPlaintext
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import api
from nats.js.errors import NotFoundError

from libs.contracts.streams import Stream
from libs.runtime import metrics
from libs.runtime.bus.connecting import close, inbox_prefix, servers_of
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.reader import Extent, Replaced, extent, read_until_now
from libs.runtime.bus.signals import woken
from libs.runtime.bus.stored import Kept
from libs.runtime.cancellation import abandon

log = structlog.get_logger(__name__)

BATCH = 256
# Seconds. What follows this soon is stored together: a transaction costs as much for ten messages as for one.
TOGETHER = 0.01
# A request that the server forgot over a restart is given up after this long.
FETCH = 1.0
WATCH = 1.0
RETRY = 0.5
ACK_WAIT = 30.0
# The consumer of a process that was killed; each has one of its own, under a name of its own.
FORGOTTEN = 300.0
LEAVE = 2.0


class ProjectedAway(Exception):
    """What is projected into cannot be used now; the text says why. It is tried again and again."""


class Projected(Protocol):
    """What is projected into. Position and content change in one transaction. Others may fill it at the same time."""

    name: str
    """One subject token; no two may share it, those that fill the same included: it names the consumer."""

    async def stands_at(self, epoch: str) -> int | None:
        """The sequence of the last message taken in; None if they must be filled anew, as for another epoch."""
        ...

    async def empty(self, epoch: str, position: int, known: Sequence[Kept]) -> None:
        """Begin again behind `position`; `known` is what is known without the messages up to there."""
        ...

    async def take_in(self, messages: Sequence[Kept]) -> None:
        """Messages that follow each other; returns when they are stored."""
        ...

    def heard_of(self, last: int) -> None:
        """The stream goes up to this sequence now."""
        ...


@dataclass(frozen=True)
class Account:
    """Whom FastStream connects as, and where: several servers of one cluster by commas."""

    url: str
    user: str
    password: str
    service: str


@dataclass
class Projection:
    """`known` is a stream that holds the last word on each thing, for when `stream` no longer goes back to its start.

    `problem` is what keeps it from going on, None while it does.
    """

    bus: Bus
    account: Account
    stream: Stream
    known: Stream
    projected: Projected
    position: int = 0
    problem: str | None = "it has not begun"
    _again: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Until cancelled. Whatever goes wrong is logged, told in `problem`, and begun again from the tables."""
        async with self.bus.noticing_reconnects() as self._again, self._forgotten_afterwards():
            while True:
                self._again.clear()
                try:
                    there = await self._prepare()
                    async with self._fed() as arrived:
                        self.problem = None
                        await self._take_in_all(there, arrived)
                except (NatsError, Replaced, TimeoutError) as problem:
                    self.problem = f"NATS: {problem!r}"
                    log.warning("the projection begins again", problem=repr(problem))
                except ProjectedAway as problem:
                    if self.problem != str(problem):
                        log.warning("the projection waits", problem=str(problem))
                    self.problem = str(problem)
                except Exception as problem:
                    self.problem = f"{type(problem).__name__}: {problem}"
                    log.exception("the projection broke; it begins again")
                if self.problem is not None:
                    await asyncio.sleep(RETRY)

    @asynccontextmanager
    async def _forgotten_afterwards(self) -> AsyncGenerator[None]:
        """The server keeps nothing for who left in order."""
        try:
            yield
        finally:
            if self.bus.connected:
                try:
                    async with asyncio.timeout(LEAVE):
                        await self.bus.jetstream.delete_consumer(self.stream.name, self.projected.name)
                except (NatsError, TimeoutError) as problem:
                    log.debug("the consumer stays for a while", problem=repr(problem))

    async def _prepare(self) -> Extent:
        """Tables that fit the stream, and a consumer that brings what follows."""
        before = await extent(self.bus, self.stream)
        position = await self.projected.stands_at(before.epoch)
        # Looked at after the tables: others may fill the same ones, and go on doing so.
        there = await extent(self.bus, self.stream)
        if there.created != before.created:
            raise Replaced(f"{self.stream.name} was made anew")
        if position is None or not there.first - 1 <= position <= there.last:
            position = there.first - 1
            log.info("the projection is filled anew", after=position, up_to=there.last)
            await self.projected.empty(there.epoch, position, await self._last_words() if position else ())
        self.position = position
        self._heard(there)
        await self._catch_up()
        await self._make_consumer()
        return there

    async def _catch_up(self) -> None:
        """All that is stored now: this way takes a tenth of FastStream's time for each."""
        batch: list[Kept] = []
        async with aclosing(
            read_until_now(self.bus, self.stream, self.stream.subjects, self.position, batch=BATCH)
        ) as stored:
            async for kept in stored:
                batch.append(kept)
                if len(batch) == BATCH:
                    await self._store(batch)
                    batch = []
        if batch:
            await self._store(batch)

    async def _store(self, batch: Sequence[Kept]) -> None:
        await self.projected.take_in(batch)
        self.position = batch[-1].sequence

    async def _last_words(self) -> list[Kept]:
        subjects = self.known.subjects
        return [kept async for kept in read_until_now(self.bus, self.known, subjects)]

    async def _make_consumer(self) -> None:
        name = self.projected.name
        try:
            await self.bus.jetstream.delete_consumer(self.stream.name, name)
        except NotFoundError:
            log.debug("there was no consumer", consumer=name)
        config = api.ConsumerConfig(
            name=name,
            durable_name=name,
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self.position + 1,
            ack_policy=api.AckPolicy.ALL,
            ack_wait=ACK_WAIT,
            max_ack_pending=4 * BATCH,
            inactive_threshold=FORGOTTEN,
        )
        await self.bus.jetstream.add_consumer(self.stream.name, config)

    @asynccontextmanager
    async def _fed(self) -> AsyncGenerator[asyncio.Queue[Msg]]:
        """What FastStream brings, as it comes; no more than one batch of it lies here."""
        arrived: asyncio.Queue[Msg] = asyncio.Queue(BATCH)
        broker = self._broker()
        subscriber = broker.subscriber(
            self.stream.subjects[0],
            stream=JStream(self.stream.name, declare=False),
            durable=self.projected.name,
            pull_sub=PullSub(batch_size=BATCH, timeout=FETCH),
            ack_policy=AckPolicy.MANUAL,
            inbox_prefix=f"{inbox_prefix(self.account.service)}.".encode(),
            decoder=_as_it_came,
        )
        subscriber(arrived.put)
        client = await broker.connect()
        try:
            await broker.start()
            yield arrived
        finally:
            await _leave(broker, client)

    def _broker(self) -> NatsBroker:
        async def reconnected() -> None:
            self._again.set()

        async def quiet(problem: Exception) -> None:
            log.debug("nats, for the projection", problem=repr(problem))

        return NatsBroker(
            servers_of(self.account.url),
            security=SASLPlaintext(username=self.account.user, password=self.account.password),
            name=f"{self.bus.source}/{self.projected.name}",
            inbox_prefix=inbox_prefix(self.account.service),
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            connect_timeout=2,
            ping_interval=5,
            max_outstanding_pings=2,
            reconnected_cb=reconnected,
            error_cb=quiet,
            graceful_timeout=1.0,
            apply_types=False,
            logger=None,
        )

    async def _take_in_all(self, there: Extent, arrived: asyncio.Queue[Msg]) -> None:
        """Returns when a new consumer is needed."""
        watching = asyncio.create_task(self._watch(there, arrived))
        taking = asyncio.create_task(self._take_in(arrived))
        try:
            done, _ = await asyncio.wait({watching, taking}, return_when=asyncio.FIRST_COMPLETED)
            log.info("the projection needs a new consumer", why=next(task.result() for task in done))
        finally:
            await abandon(watching, taking)

    async def _take_in(self, arrived: asyncio.Queue[Msg]) -> str:
        clock, stored_at = asyncio.get_running_loop(), 0.0
        while True:
            batch = [await arrived.get()]
            if (early := stored_at + TOGETHER - clock.time()) > 0:
                await asyncio.sleep(early)
            while not arrived.empty():
                batch.append(arrived.get_nowait())
            news = [_kept(message) for message in batch if message.metadata.sequence.stream > self.position]
            if news and not await self._follow_on(news):
                return "messages came out of order"
            if news:
                await self._store(news)
            stored_at = clock.time()
            await batch[-1].ack()
            metrics.projection_lag.labels(self.bus.source.partition("/")[0]).set(batch[-1].metadata.num_pending)

    async def _follow_on(self, news: Sequence[Kept]) -> bool:
        """Whether nothing that the stream still holds is missing before or between these."""
        last = self.position
        for kept in news:
            if kept.sequence != last + 1:
                held = await self.bus.next(self.stream, ">", last + 1)
                if held is None or held.sequence != kept.sequence:
                    return False
            last = kept.sequence
        return True

    async def _watch(self, there: Extent, arrived: asyncio.Queue[Msg]) -> str:
        """FastStream goes on asking a consumer that is gone, and says nothing; so somebody else has to look."""
        stuck_at = -1
        while True:
            await woken(self._again, WATCH)
            if self._again.is_set():
                return "the connection was lost in between"
            now = await extent(self.bus, self.stream)
            self._heard(now)
            if now.created != there.created or now.first > self.position + 1:
                return "the stream is not what it was"
            try:
                await self.bus.jetstream.consumer_info(self.stream.name, self.projected.name)
            except NotFoundError:
                return "the consumer was deleted"
            if stuck_at == self.position and arrived.empty():
                return "what is stored does not arrive"
            stuck_at = self.position if now.last > self.position else -1

    def _heard(self, there: Extent) -> None:
        self.projected.heard_of(there.last)
        behind = max(0, there.last - self.position)
        metrics.projection_lag.labels(self.bus.source.partition("/")[0]).set(behind)


def _kept(message: Msg) -> Kept:
    return Kept(message.metadata.sequence.stream, message.subject, message.data)


async def _as_it_came(message: NatsMessage) -> Msg:
    return message.raw_message


async def _leave(broker: NatsBroker, client: Client) -> None:
    """Closed also where the server is away and says no goodbye.

    The goodbye is given up only once the client is closed: what is cancelled before that waits on in nats-py for an
    answer that, when it comes after all, breaks the client's reader, and nats-py then waits ten seconds for another.
    """
    goodbye = asyncio.create_task(broker.stop())
    await asyncio.wait({goodbye}, timeout=LEAVE)
    await close(client)
    goodbye.cancel()
    (ended,) = await asyncio.gather(goodbye, return_exceptions=True)
    if isinstance(ended, NatsError | asyncio.CancelledError):
        log.debug("left without a goodbye", problem=repr(ended))
    elif isinstance(ended, BaseException):
        raise ended
