"""One connection to NATS: publish until acknowledged, ask, subscribe, read single messages.

nats-py does not retry a publish by itself; `publish` does, under one message id, so an outage
shorter than `patience` is not noticed by anyone but the clock.
"""

# nats-py leaves the types of its keyword parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal, TypeVar

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError, OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from libs.contracts.envelope import Frozen, Message, decode, envelop
from libs.contracts.problems import Problem
from libs.contracts.queries import Answer, Question
from libs.contracts.streams import Stream
from libs.contracts.subjects import QUERY
from libs.runtime import metrics, tracing
from libs.runtime.bus.clock import Clock, ticks
from libs.runtime.bus.failures import Conflict, Unanswerable, Unavailable, refusal_of
from libs.runtime.bus.replies import Replies
from libs.runtime.bus.stored import Kept, Stored, answer_of, kept_of

log = structlog.get_logger(__name__)

WRONG_LAST_SEQUENCE = 10071
# A cluster's servers are still copying this very message, or another one under its subject: how that ends will show.
STILL_COPYING = (10158, 10164)
STORE_REFUSED = 10077
# Seconds for one try; it is made again for as long as the caller has patience.
TIMEOUT = 2.0
# The server, or whoever was asked, is not there; or so much waits for it already that there is no room for more.
NO_ANSWER = (NatsTimeout, NoRespondersError, OutboundBufferLimitError)
# Seconds, longer than a dead connection stays unnoticed.
_FLUSH_PATIENCE = 300

Result = TypeVar("Result", bound=Frozen)


class Bus:
    """A connected service. `source` is what its envelopes say they come from, e.g. `orchestrator/7f3k2a`."""

    def __init__(self, connection: Client, source: str) -> None:
        self.nats = connection
        self.jetstream: JetStreamContext = connection.jetstream(timeout=2.0)
        self.source = source
        self.clock = Clock()
        self._replies = Replies(connection)
        self._reconnects: set[asyncio.Event] = set()
        self._flushing: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        return self.nats.is_connected

    @property
    def servers(self) -> int:
        """How many servers it knows the address of: more than one are a cluster, which may have more than these."""
        return len(self.nats.servers)

    @property
    def clustered(self) -> bool:
        """Whether the server that it is connected to says that it is one of a cluster."""
        return bool(self.nats._server_info.get("cluster"))  # pyright: ignore[reportPrivateUsage]

    @property
    def server_version(self) -> str:
        """Of the NATS server that it is connected to."""
        version = self.nats.connected_server_version
        return f"{version.major}.{version.minor}.{version.patch}"

    async def publish(
        self,
        stream: Stream,
        message: Message,
        *,
        id: str | None = None,
        expected: int | None = None,
        correlation: str | None = None,
        causation: str | None = None,
        patience: float = 30.0,
    ) -> Stored:
        """Acknowledged by the stream, or `Unavailable`, `Refused`, `Conflict`.

        `expected` is the sequence that the last message under this subject must have (0: none).
        A `Conflict` may be this very message, stored by a try whose answer was lost: look for its id.
        """
        envelope = envelop(message, self.source, id=id, correlation=correlation, causation=causation)
        headers = {"Nats-Msg-Id": envelope.id}
        if (trace := tracing.current()) is not None:
            headers[tracing.HEADER] = trace.header
        if expected is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(expected)
        return await self._publish(stream, message.subject, envelope.encode(), headers, patience)

    async def publish_encoded(
        self, stream: Stream, subject: str, payload: bytes, *, id: str, expected: int, patience: float = 30.0
    ) -> Stored:
        """As `publish`, of what is an envelope of this id already."""
        headers = {"Nats-Msg-Id": id, "Nats-Expected-Last-Subject-Sequence": str(expected)}
        return await self._publish(stream, subject, payload, headers, patience)

    async def _publish(
        self, stream: Stream, subject: str, payload: bytes, headers: dict[str, str], patience: float
    ) -> Stored:
        headers["Nats-Expected-Stream"] = stream.name
        give_up = asyncio.get_running_loop().time() + patience
        while True:
            try:
                ack = answer_of(await self._replies.ask(subject, payload, TIMEOUT, dict(headers)))
                return Stored(ack["seq"], ack.get("duplicate", False))
            except APIError as problem:
                if problem.err_code == WRONG_LAST_SEQUENCE:
                    raise Conflict(subject) from None
                if problem.err_code == STORE_REFUSED:
                    self._count(stream, "refused")
                    raise refusal_of(problem.description or "the stream is full") from None
                if problem.code != 503 and problem.err_code not in STILL_COPYING:
                    raise
                cause: Exception = problem
            except NO_ANSWER as problem:
                cause = problem
            if asyncio.get_running_loop().time() >= give_up:
                self._count(stream, "unavailable")
                raise Unavailable(f"{stream.name} did not acknowledge within {patience:g} s: {cause!r}") from cause
            self._count(stream, "retried")
            await asyncio.sleep(0.1)

    def _count(self, stream: Stream, trouble: Literal["refused", "unavailable", "retried"]) -> None:
        metrics.publish_troubles.labels(self.source.partition("/")[0], stream.name, trouble).inc()

    async def put(
        self, bucket: Stream, subject: str, value: bytes | None, *, expected: int, patience: float = 30.0
    ) -> Stored:
        """A value of a key-value bucket, seen as the stream it is; None deletes. Otherwise as `publish`."""
        headers = {"Nats-Expected-Last-Subject-Sequence": str(expected)}
        if value is None:
            headers["KV-Operation"] = "DEL"
        return await self._publish(bucket, subject, value or b"", headers, patience)

    async def last(self, stream: Stream, subject: str) -> Kept | None:
        """The newest message under a subject, asked of the stream's leader."""
        return await self._get(stream, {"last_by_subj": subject})

    async def next(self, stream: Stream, subject: str, sequence: int) -> Kept | None:
        """The first message under a subject (wildcards allowed) at or after a sequence, asked of the leader."""
        return await self._get(stream, {"seq": sequence, "next_by_subj": subject})

    async def each(self, stream: Stream, subject: str, first: int = 1) -> AsyncGenerator[Kept]:
        """All under a subject from a sequence on, asked for one by one: for what holds few messages."""
        kept = await self.next(stream, subject, first)
        while kept is not None:
            yield kept
            kept = await self.next(stream, subject, kept.sequence + 1)

    async def at(self, stream: Stream, sequence: int) -> Kept | None:
        return await self._get(stream, {"seq": sequence})

    async def ask_jetstream(self, what: str, wanted: Mapping[str, object]) -> dict[str, Any]:
        """The answer of JetStream's API to one request, e.g. of `STREAM.PURGE.LOGS`; asked once.

        Raises `APIError` for a refusal, and nats-py's `TimeoutError` or `NoRespondersError` where nobody answers.
        """
        return answer_of(await self._replies.ask(f"$JS.API.{what}", json.dumps(wanted).encode(), TIMEOUT))

    async def ask_time(self, stream: Stream) -> None:
        """Sets the clock by the server that leads this stream; where nobody answers it goes on as it was."""
        asked = ticks()
        try:
            answer = await self.ask_jetstream(f"STREAM.INFO.{stream.name}", {})
        except (*NO_ANSWER, APIError) as problem:
            log.debug("nats did not tell its time", problem=repr(problem))
            return
        self.clock.heard(datetime.fromisoformat(answer["ts"]), asked, ticks())

    async def _get(self, stream: Stream, wanted: dict[str, object], patience: float = 30.0) -> Kept | None:
        subject, payload = f"$JS.API.STREAM.MSG.GET.{stream.name}", json.dumps(wanted).encode()
        give_up = asyncio.get_running_loop().time() + patience
        while True:
            try:
                return kept_of(await self._replies.ask(subject, payload, TIMEOUT))
            except NotFoundError:
                return None
            except (*NO_ANSWER, APIError) as problem:
                if isinstance(problem, APIError) and problem.code != 503:
                    raise
                if asyncio.get_running_loop().time() >= give_up:
                    raise Unavailable(f"no answer from JetStream within {patience:g} s: {problem!r}") from problem
                await asyncio.sleep(0.1)

    async def ask(self, question: Question, result: type[Result], *, patience: float = 5.0) -> Result:
        """The answer's result; raises `Unanswerable` with the problem in it, `Unavailable` when nobody answers."""
        payload = envelop(question, self.source).encode()
        try:
            reply = await self.nats.request(question.subject, payload, timeout=patience)
        except NO_ANSWER as problem:
            service = QUERY.parse(question.subject)["service"]
            raise Unavailable(f"the {service} service does not answer; is it running?") from problem
        answer = Answer[result].model_validate_json(reply.data)
        if answer.result is None:
            raise Unanswerable(answer.status, answer.problem or Problem(code="no_answer", message="An empty answer."))
        return answer.result

    async def answer(
        self, question: type[Question], respond: Callable[[Any], Awaitable[Answer[Any]]], *, queue: str
    ) -> None:
        """Answer every question of this type; replicas of one queue share them."""
        pending: set[asyncio.Task[None]] = set()

        async def reply(message: Msg) -> None:
            try:
                asked = decode(message.data, message.subject)
                answer = await respond(asked.data)
            except ValueError as problem:
                answer = Answer[Any](status=400, problem=Problem(code="bad_question", message=str(problem)))
            except Exception:
                log.exception("question failed", subject=message.subject)
                answer = Answer[Any](
                    status=503, problem=Problem(code="internal_error", message="See the service's log.")
                )
            await message.respond(answer.model_dump_json().encode())

        async def receive(message: Msg) -> None:
            task = asyncio.create_task(reply(message))
            pending.add(task)
            task.add_done_callback(pending.discard)

        await self.nats.subscribe(question.subject_form.filter(), queue=queue, cb=receive)

    async def flush(self) -> None:
        """Returns once the server has taken in all that was said so far, subscriptions included."""
        # Whoever waits may be cancelled, the flush may not: a pong that nobody waits for any more breaks nats-py's
        # reader, and with it the connection.
        flushing = asyncio.create_task(self._flush())
        self._flushing.add(flushing)
        flushing.add_done_callback(self._flushing.discard)
        await asyncio.shield(flushing)

    async def _flush(self) -> None:
        """Twice, because nats-py's first ping overtakes what it has not yet written."""
        for _ in range(2):
            await self._pong()

    async def _pong(self) -> None:
        """One whose connection was lost never comes, so the next connection is asked for it again."""
        while True:
            async with self.noticing_reconnects() as reconnected:
                asking = asyncio.create_task(self.nats.flush(_FLUSH_PATIENCE))
                again = asyncio.create_task(reconnected.wait())
                await asyncio.wait({asking, again}, return_when=asyncio.FIRST_COMPLETED)
                again.cancel()
                if asking.done():
                    return await asking
                # It may be one of the new connection's already: nobody waits for it, and nobody gives it up.
                self._flushing.add(asking)
                asking.add_done_callback(self._forget)

    def _forget(self, flushing: asyncio.Task[None]) -> None:
        self._flushing.discard(flushing)
        if not flushing.cancelled() and (problem := flushing.exception()) is not None:
            log.debug("a pong of a lost connection did not come", problem=repr(problem))

    @asynccontextmanager
    async def listening(self, subject: str, hear: Callable[[Msg], None]) -> AsyncGenerator[None]:
        """Hear what is published under a subject from now on, at most once: a hint to look, never the truth."""

        async def receive(message: Msg) -> None:
            hear(message)

        subscription = await self.nats.subscribe(subject, cb=receive)
        await self.flush()
        try:
            yield
        finally:
            if not self.nats.is_closed:
                await subscription.unsubscribe()

    @asynccontextmanager
    async def noticing_reconnects(self) -> AsyncGenerator[asyncio.Event]:
        """An event that is set whenever the connection came back: what was asked before it is not answered."""
        event = asyncio.Event()
        self._reconnects.add(event)
        try:
            yield event
        finally:
            self._reconnects.discard(event)

    def reconnected(self) -> None:
        for event in self._reconnects:
            event.set()
