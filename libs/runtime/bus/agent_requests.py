"""Agents' requests: heard on a connection of their own, answered over one that can reach agents' inboxes only.

Of their own, because the server cuts off who does not read as fast as agents send, and that is to cost nobody else.

The server lets an agent publish under its own name alone, so the subject proves who asks. The reply subject proves
nothing: the agent chose it. One that is not the agent's own inbox is not written to, and the request is not looked at.

What is kept at one time is bounded, whatever agents send: so many requests are answered; so many more are refused,
of which no body is kept; the rest is dropped and counted, and who sent it finds that nobody answers. Of whom much is
dropped in a short time, others suffer: only reading it takes all the time there is. So he is told of.
"""

# nats-py leaves the types of its keyword parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from libs.contracts.agents import STATUS_HEADER, is_inbox_of
from libs.contracts.subjects import AGENT, BadSubject
from libs.runtime import metrics
from libs.runtime.bus.connection import Bus
from libs.runtime.cancellation import abandon
from libs.runtime.logging import get_logger

# Answered at one time: more than these would take the memory that people's requests need.
MOST = 128
# Of one agent: one that asks for everything at once holds up no other.
MOST_OF_ONE = 16
# Refused at one time. A refusal takes some kilobytes until it is sent, and is sent at once unless NATS holds it up: so
# many are more than an honest client ever has open, and some megabytes.
MOST_REFUSALS = 1024
# Of one agent: one that floods leaves others their refusals.
MOST_REFUSALS_OF_ONE = 128
# So many dropped of one agent within so many seconds are a flood.
FLOOD, WITHIN = 1000, 10.0
# Seconds that requests get when the service stops.
GRACE = 2.0

log = get_logger(__name__)


@dataclass(frozen=True)
class AgentRequest:
    """`door` as in `tools.restart`.

    `crowded`: as many of this agent, or of all, are being answered already. It is to be refused, and has no `body`.
    """

    agent: str
    door: str
    body: bytes
    crowded: bool


@dataclass(frozen=True)
class Reply:
    """`headers` go beside the header that carries the status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Respond = Callable[[AgentRequest], Awaitable[Reply]]


@asynccontextmanager
async def answering_agents(
    bus: Bus, answers: Bus, respond: Respond, *, queue: str, flooding: Callable[[str], None]
) -> AsyncGenerator[None]:
    """Every request of an agent, shared by the replicas of a queue. `respond` raises nothing.

    `flooding` is called with the name of an agent that sends more than can be refused, again and again while it does.
    """
    responder = _Responder(answers, respond, flooding)
    subscription = await bus.nats.subscribe(AGENT.filter(), queue=queue, cb=responder.receive)
    await bus.flush()
    try:
        yield
    finally:
        if not bus.nats.is_closed:
            await subscription.unsubscribe()
        await responder.close()


class _Places:
    """How many may be under way at one time, of all agents and of one."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._taken = Counter[str]()

    def take(self, agent: str) -> bool:
        """False: there is none left."""
        if self._taken.total() >= self._most or self._taken[agent] >= self._most_of_one:
            return False
        self._taken[agent] += 1
        return True

    def leave(self, agent: str) -> None:
        self._taken[agent] -= 1
        if not self._taken[agent]:
            del self._taken[agent]


class _Responder:
    def __init__(self, answers: Bus, respond: Respond, flooding: Callable[[str], None]) -> None:
        self._answers = answers
        self._respond = respond
        self._flooding = flooding
        self._dropped = Counter[str]()
        self._counted_since = time.monotonic()
        self._pending: set[asyncio.Task[None]] = set()
        self._served = _Places(MOST, MOST_OF_ONE)
        self._refused = _Places(MOST_REFUSALS, MOST_REFUSALS_OF_ONE)

    async def receive(self, message: Msg) -> None:
        try:
            fields = AGENT.parse(message.subject)
        except BadSubject:
            metrics.agent_turned_away("subject")
            return
        agent, door = fields["agent"], f"{fields['noun']}.{fields['action']}"
        if not is_inbox_of(agent, message.reply):
            metrics.agent_turned_away("reply")
            self._drop(agent)
            log.warning(
                "an agent named a reply subject that is not its own: nothing was done",
                agent=agent,
                subject=message.subject,
                reply=message.reply[:200],
            )
        elif self._served.take(agent):
            self._begin(AgentRequest(agent, door, message.data, crowded=False), message.reply, self._served)
        elif self._refused.take(agent):
            self._begin(AgentRequest(agent, door, b"", crowded=True), message.reply, self._refused)
        else:
            # No line in the log either, which would grow as fast as they come; the refusals before it say who it is.
            metrics.agent_turned_away("flood")
            self._drop(agent)

    def _drop(self, agent: str) -> None:
        now = time.monotonic()
        if now - self._counted_since > WITHIN:
            self._dropped.clear()
            self._counted_since = now
        self._dropped[agent] += 1
        if self._dropped[agent] == FLOOD:
            del self._dropped[agent]
            self._flooding(agent)

    def _begin(self, request: AgentRequest, reply: str, places: _Places) -> None:
        """Takes over a place that was taken."""
        task = asyncio.create_task(self._answer(request, reply))
        self._pending.add(task)

        def done(ended: asyncio.Task[None]) -> None:
            self._pending.discard(ended)
            places.leave(request.agent)

        task.add_done_callback(done)

    async def _answer(self, request: AgentRequest, reply: str) -> None:
        answer = await self._respond(request)
        headers = {STATUS_HEADER: str(answer.status), **answer.headers}
        try:
            await self._answers.nats.publish(reply, answer.body, headers=headers)
        except NatsError as problem:
            log.warning("an agent could not be answered", agent=request.agent, door=request.door, problem=repr(problem))

    async def close(self) -> None:
        """What takes longer than `GRACE` to be answered is let go: the agent asks again, with its key."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=GRACE)
        await abandon(*self._pending)
