"""Reading a stream from one sequence on, live: in order, without gap or repeat, over any outage.

Each reader has a consumer of its own on the server and takes from it at its own pace: no more than one
batch is ever on its way. The consumer is only a means: what was read last is known here, and from there a
new one is made whenever the old one may have lost something.
"""

# nats-py leaves the types of its keyword parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Generator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import api
from nats.js.errors import APIError, NotFoundError

from libs.contracts.names import random_word
from libs.contracts.streams import Stream
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.stored import Kept

log = structlog.get_logger(__name__)

BATCH = 32
EXPIRES = 30.0
HEARTBEAT = 5.0
# A consumer whose reader died without a word is dropped by the server after this long.
INACTIVE = 15.0
RETRY = 0.25
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Extent:
    """What a stream holds. `created` tells it from an earlier one of its name; `first` is `last` + 1 when empty."""

    created: datetime
    first: int
    last: int

    @property
    def epoch(self) -> str:
        """Tells a stream from an earlier one of its name."""
        return self.created.isoformat()


@dataclass(frozen=True)
class Discarded:
    """The stream no longer holds all that came after `after`: the oldest that it has is `first`."""

    after: int
    first: int


class Replaced(Exception):
    """The stream is another one than it was, or lost its end: the sequences known here mean nothing any more."""


class _Broken(Exception):
    """The consumer may have lost something; a new one is needed."""


@dataclass(frozen=True)
class _Consumer:
    """`pending` is how many messages waited for it when it was made; None in `arrived` is a reason to look up."""

    name: str
    inbox: str
    pending: int
    arrived: asyncio.Queue[Msg | None]


async def extent(bus: Bus, stream: Stream) -> Extent:
    """Raises what nats-py raises when the server or the stream is not there."""
    info = await bus.jetstream.stream_info(stream.name)
    if info.created is None:
        raise ValueError(f"the server does not say when {stream.name} was created; 2.10 or newer is needed")
    return Extent(info.created, max(info.state.first_seq, 1), info.state.last_seq)


@contextmanager
def asked_of(stream: Stream) -> Generator[None]:
    """What is asked of a stream here is answered, or it is `Unavailable`."""
    try:
        yield
    except (NatsError, TimeoutError) as problem:
        raise Unavailable(f"JetStream says nothing of {stream.name}: {problem!r}") from problem


async def count_by_subject(bus: Bus, stream: Stream, wanted: str) -> dict[str, int]:
    """How many messages the stream holds under each of these subjects, of which the server tells a page at a time."""
    found: dict[str, int] = {}
    told = 0
    while True:
        info = await bus.ask_jetstream(f"STREAM.INFO.{stream.name}", {"subjects_filter": wanted, "offset": told})
        page: dict[str, int] = info["state"].get("subjects") or {}
        found |= page
        told += len(page)
        if not page or told >= info.get("total", 0):
            return found


async def count_from(bus: Bus, stream: Stream, subjects: Sequence[str], first: int) -> int:
    """How many messages the stream holds under the subjects from a sequence on; an outage is waited for."""
    while True:
        name = f"count-{random_word(12)}"
        try:
            return await _make(bus, stream, subjects, first, name)
        except NatsError as problem:
            _raise_if_final(bus, problem)
            await asyncio.sleep(RETRY)
        finally:
            await _dismiss(bus, stream, name)


async def first_since(bus: Bus, stream: Stream, moment: datetime, ahead: timedelta, within: tuple[int, int]) -> int:
    """From this sequence on, all was stored at the moment or later, or not more than `ahead` before.

    `within` are the first and the last sequence to look at; one behind the last is found where there is nothing.
    Raises what nats-py raises when the server or the stream is not there.
    """
    first, last = within
    while first <= last:
        middle = (first + last) // 2
        try:
            wanted = {"seq": middle, "next_by_subj": ">"}
            found = (await bus.ask_jetstream(f"STREAM.MSG.GET.{stream.name}", wanted))["message"]
        except NotFoundError:
            last = middle - 1
            continue
        if datetime.fromisoformat(found["time"]) + ahead >= moment:
            last = middle - 1
        else:
            first = found["seq"] + 1
    return first


async def read(
    bus: Bus,
    stream: Stream,
    subjects: Sequence[str],
    after: int,
    *,
    created: datetime | None = None,
    end: asyncio.Future[int] | None = None,
    batch: int = BATCH,
) -> AsyncGenerator[Kept | Discarded]:
    """All under the subjects (which must not overlap) after a sequence, for ever. Leave it with `aclosing`.

    `end`, once known, is the sequence of the last message wanted. `created` is that of the stream that `after`
    is about. Raises `Replaced`. A `Discarded` may be about messages under other subjects only.
    """
    reading = _Reading(bus, stream, subjects, after, created=created, end=end, batch=batch)
    async with aclosing(reading.run()) as items:
        async for item in items:
            yield item


async def read_until_now(
    bus: Bus, stream: Stream, subjects: Sequence[str], after: int = 0, *, batch: int = 256
) -> AsyncGenerator[Kept]:
    """What the stream holds under the subjects after a sequence, up to the moment of the call."""
    reading = _Reading(bus, stream, subjects, after, batch=batch, bounded=True)
    async with aclosing(reading.run()) as items:
        async for item in items:
            if isinstance(item, Kept):
                yield item


class _Reading:
    def __init__(
        self,
        bus: Bus,
        stream: Stream,
        subjects: Sequence[str],
        after: int,
        *,
        created: datetime | None = None,
        end: asyncio.Future[int] | None = None,
        batch: int = BATCH,
        bounded: bool = False,
    ) -> None:
        self._bus = bus
        self._stream = stream
        self._subjects = list(subjects)
        self._position = after
        self._created = created
        self._end: asyncio.Future[int] = end or asyncio.get_running_loop().create_future()
        self._batch = batch
        self._bounded = bounded

    async def run(self) -> AsyncGenerator[Kept | Discarded]:
        async with self._bus.noticing_reconnects() as reconnected:
            while True:
                reconnected.clear()
                try:
                    there = await self._look()
                    if there.first > self._position + 1:
                        yield self._skip_to(there.first)
                    async with (
                        self._consumer(reconnected, there) as consumer,
                        aclosing(self._deliveries(consumer, reconnected)) as deliveries,
                    ):
                        async for kept in deliveries:
                            yield kept
                    return
                except (_Broken, NatsError) as problem:
                    _raise_if_final(self._bus, problem)
                    log.debug("reading goes on with a new consumer", stream=self._stream.name, problem=repr(problem))
                    await asyncio.sleep(RETRY)

    async def _look(self) -> Extent:
        """The first look also says which stream it is, and for a bounded reading where its end is."""
        there = await extent(self._bus, self._stream)
        self._created = self._created or there.created
        if there.created != self._created or there.last < self._position:
            raise Replaced(f"{self._stream.name} was made anew or lost its end; it holds {there.first} to {there.last}")
        if self._bounded and not self._end.done():
            self._end.set_result(there.last)
        return there

    def _skip_to(self, first: int) -> Discarded:
        discarded = Discarded(self._position, first)
        self._position = first - 1
        return discarded

    @asynccontextmanager
    async def _consumer(self, reconnected: asyncio.Event, there: Extent) -> AsyncGenerator[_Consumer]:
        name, inbox = f"read-{random_word(12)}", self._bus.nats.new_inbox()
        arrived: asyncio.Queue[Msg | None] = asyncio.Queue()

        async def arrive(message: Msg) -> None:
            arrived.put_nowait(message)

        subscription = await self._bus.nats.subscribe(inbox, cb=arrive)
        waking = [asyncio.create_task(_look_up(arrived, reason)) for reason in (reconnected.wait(), self._ending())]
        try:
            pending = await _make(self._bus, self._stream, self._subjects, self._position + 1, name)
            if pending == 0:
                self._position = max(self._position, there.last)
            yield _Consumer(name, inbox, pending, arrived)
        finally:
            for task in waking:
                task.cancel()
            await self._dismiss(name, subscription)

    async def _dismiss(self, name: str, subscription: Subscription) -> None:
        await _dismiss(self._bus, self._stream, name)
        if not self._bus.nats.is_closed:
            await subscription.unsubscribe()

    async def _ending(self) -> None:
        await asyncio.wait([self._end])

    async def _deliveries(self, consumer: _Consumer, reconnected: asyncio.Event) -> AsyncGenerator[Kept]:
        """Until the end is reached; raises `_Broken` when something may have been lost."""
        delivered = wanted = 0
        pending = consumer.pending
        while not self._over(pending):
            if wanted == 0:
                await self._ask_for_more(consumer)
                wanted = self._batch
            message = await _next(consumer.arrived)
            if reconnected.is_set():
                raise _Broken("reconnected")
            if message is None:
                continue
            if not message.reply:
                wanted = _status(message, wanted)
                if self._end.done():
                    raise _Broken("the server has nothing, though something was to come: it may be gone")
                continue
            about = message.metadata
            delivered, wanted, pending = delivered + 1, wanted - 1, about.num_pending
            if about.sequence.consumer != delivered:
                raise _Broken(f"delivery {about.sequence.consumer} came after {delivered - 1}")
            self._position = about.sequence.stream
            if self._end.done() and self._position > self._end.result():
                return
            yield Kept(self._position, message.subject, message.data)

    async def _ask_for_more(self, consumer: _Consumer) -> None:
        request = {
            "batch": self._batch,
            "expires": int(EXPIRES * NANOSECONDS),
            "idle_heartbeat": int(HEARTBEAT * NANOSECONDS),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream.name}.{consumer.name}"
        await self._bus.nats.publish(subject, json.dumps(request).encode(), reply=consumer.inbox)

    def _over(self, pending: int) -> bool:
        """Whether all that was wanted has been read; `pending` is what the consumer had left at its last word."""
        if not self._end.done():
            return False
        return self._position >= self._end.result() or (self._bounded and pending == 0)


async def _make(bus: Bus, stream: Stream, subjects: Sequence[str], first: int, name: str) -> int:
    """A consumer from a sequence on; returns how many messages wait for it."""
    everything = set(subjects) == set(stream.subjects)
    config = api.ConsumerConfig(
        name=name,
        # Several filters cost the server 0.4 ms a message among thousands of subjects; none cost nothing.
        filter_subjects=None if everything else list(subjects),
        deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=first,
        ack_policy=api.AckPolicy.NONE,
        inactive_threshold=INACTIVE,
        mem_storage=True,
        num_replicas=1,
    )
    return (await bus.jetstream.add_consumer(stream.name, config)).num_pending or 0


async def _dismiss(bus: Bus, stream: Stream, name: str) -> None:
    """Nobody waits for the answer: where the request gets lost, the server notices by itself (`INACTIVE`)."""
    if bus.connected:
        await bus.nats.publish(f"$JS.API.CONSUMER.DELETE.{stream.name}.{name}")


def _raise_if_final(bus: Bus, problem: Exception) -> None:
    refused = isinstance(problem, APIError) and problem.code == 400
    if bus.nats.is_closed or refused:
        raise problem


async def _look_up(arrived: asyncio.Queue[Msg | None], reason: Awaitable[object]) -> None:
    await reason
    arrived.put_nowait(None)


async def _next(arrived: asyncio.Queue[Msg | None]) -> Msg | None:
    try:
        async with asyncio.timeout(2.5 * HEARTBEAT):
            return await arrived.get()
    except TimeoutError:
        raise _Broken("no heartbeat") from None


def _status(message: Msg, wanted: int) -> int:
    """How many messages are still asked for after the server said this instead of one."""
    headers = message.headers or {}
    match headers.get("Status"):
        case "100":
            return wanted
        case "404" | "408":
            return 0
        case status:
            raise _Broken(f"{status} {headers.get('Description')}")
