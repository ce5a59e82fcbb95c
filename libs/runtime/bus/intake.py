"""The pull loop: messages of one durable consumer, handed over the moment they arrive.

nats-py's `fetch` waits for a full batch once the first message is there; this one request stays
open instead and each message is taken as it comes. Idle heartbeats tell a quiet server from a dead one.
"""

# nats-py leaves the types of its keyword parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from libs.contracts.streams import Consumer, Stream
from libs.runtime import metrics, scrape
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.delivery import Delivery
from libs.runtime.bus.provision import consumer_config
from libs.runtime.bus.timing import Timing
from libs.runtime.cancellation import abandon

log = structlog.get_logger(__name__)

Handle = Callable[[Delivery], Coroutine[Any, Any, None]]

BATCH = 64
EXPIRES = 30.0
IDLE_HEARTBEAT = 1.0
NANOSECONDS = 1_000_000_000
RECONNECTED = "reconnected"


class Intake:
    """Bounded in how many messages are in hand; goes on over every outage, also when its consumer was deleted."""

    def __init__(self, bus: Bus, stream: Stream, consumer: Consumer, timing: Timing, handle: Handle) -> None:
        self._bus = bus
        self._stream = stream
        self._consumer = consumer
        self._timing = timing
        self._handle = handle
        self._in_hand: set[asyncio.Task[None]] = set()
        self._arrived: asyncio.Queue[Msg] = asyncio.Queue()
        self._asked = 0

    async def run(self) -> None:
        """Until cancelled; leaving ends what is in hand (its messages come again elsewhere)."""
        inbox = self._bus.nats.new_inbox()

        async def arrive(message: Msg) -> None:
            self._arrived.put_nowait(message)

        subscription = await self._bus.nats.subscribe(f"{inbox}.*", cb=arrive)
        waking = asyncio.create_task(self._wake_on_reconnect())
        try:
            with scrape.looked_up(self._queue):
                await self._take_for_ever(inbox)
        finally:
            await abandon(waking, *self._in_hand)
            if not self._bus.nats.is_closed:
                await subscription.unsubscribe()

    async def _take_for_ever(self, inbox: str) -> None:
        while True:
            self._asked += 1
            request = f"{inbox}.{self._asked}"
            await self._request(request)
            if not await self._take_all(request):
                await asyncio.sleep(0.2)
                await self._ensure_consumer()

    async def _queue(self) -> list[scrape.Reading]:
        """The consumer as the server has it, for Prometheus."""
        name = (self._consumer.name,)
        metrics.in_hand.labels(*name).set(len(self._in_hand))
        if not self._bus.connected:
            return []
        info = await self._bus.jetstream.consumer_info(self._stream.name, self._consumer.name)
        return [
            (metrics.queue_undelivered, name, info.num_pending or 0),
            (metrics.queue_unacknowledged, name, info.num_ack_pending or 0),
            (metrics.queue_askers, name, info.num_waiting or 0),
        ]

    async def _wake_on_reconnect(self) -> None:
        async with self._bus.noticing_reconnects() as reconnected:
            while True:
                await reconnected.wait()
                reconnected.clear()
                self._arrived.put_nowait(Msg(self._bus.nats, headers={"Status": RECONNECTED}))

    async def _request(self, inbox: str) -> None:
        wanted = {
            "batch": BATCH,
            "expires": int(EXPIRES * NANOSECONDS),
            "idle_heartbeat": int(IDLE_HEARTBEAT * NANOSECONDS),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream.name}.{self._consumer.name}"
        try:
            await self._bus.nats.publish(subject, json.dumps(wanted).encode(), reply=inbox)
        except NatsError as problem:
            log.warning("pull request not sent", problem=repr(problem))

    async def _take_all(self, request: str) -> bool:
        """What one request brings; False when it ended in a way that calls for a look at the consumer.

        The end of an earlier one, which outlived a reconnection or a pause, is no reason to ask again.
        """
        for _ in range(BATCH):
            while len(self._in_hand) >= self._consumer.max_ack_pending:
                await asyncio.wait(self._in_hand, return_when=asyncio.FIRST_COMPLETED)
            message = await self._next(request)
            if message is None:
                return False
            if status := _status(message):
                return status in (RECONNECTED, "404", "408")
            self._take(message)
        return True

    async def _next(self, request: str) -> Msg | None:
        """The next message, or what the server says of this request; None when there was not even a sign of life."""
        while True:
            try:
                async with asyncio.timeout(2.5 * IDLE_HEARTBEAT):
                    message = await self._arrived.get()
            except TimeoutError:
                return None
            status = _status(message)
            if not status or status == RECONNECTED or (status != "100" and message.subject == request):
                return message

    def _take(self, message: Msg) -> None:
        delivery = Delivery(self._bus, message, self._timing)
        metrics.delivered(self._consumer.name, delivery.deliveries)
        task = asyncio.create_task(self._handle(delivery))
        self._in_hand.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._in_hand.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            log.error("handling a message broke", exc_info=problem)

    async def _ensure_consumer(self) -> None:
        """A consumer that somebody deleted would leave us pulling from nothing, silently."""
        try:
            await self._bus.jetstream.consumer_info(self._stream.name, self._consumer.name)
        except NotFoundError:
            log.error("consumer vanished; making it again", consumer=self._consumer.name)
            await self._make_consumer()
        except NatsError as problem:
            log.warning("consumer cannot be looked at", problem=repr(problem))

    async def _make_consumer(self) -> None:
        """Kept as often as its stream: a queue takes no consumer with another number of copies."""
        try:
            stream = (await self._bus.jetstream.stream_info(self._stream.name)).config
            config = consumer_config(self._consumer, self._timing.ack_wait, stream.num_replicas or 1)
            await self._bus.jetstream.add_consumer(self._stream.name, config)
        except NatsError as problem:
            log.warning("consumer cannot be made", consumer=self._consumer.name, problem=repr(problem))


def _status(message: Msg) -> str:
    """What the server says instead of a message; empty for a message: it is to be answered, and may have any header."""
    return "" if message.reply else (message.headers or {}).get("Status", "")
