"""Agents' requests: heard on the service's own connection, answered over one that can reach agents' inboxes only.

The server lets an agent publish under its own name alone, so the subject proves who asks. The reply subject proves
nothing: the agent chose it. One that is not the agent's own inbox is not written to, and the request is not looked at.
"""

# nats-py leaves the types of its keyword parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
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
from libs.runtime.logging import get_logger

# Answered at one time: more than these would take the memory that people's requests need.
MOST = 128
# Of one agent: one that asks for everything at once holds up no other.
MOST_OF_ONE = 16
# Seconds that requests get when the service stops.
GRACE = 2.0

log = get_logger(__name__)


@dataclass(frozen=True)
class AgentRequest:
    """`door` as in `tools.restart`; `crowded`: as many of this agent, or of all, are being answered already."""

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
async def answering_agents(bus: Bus, answers: Bus, respond: Respond, *, queue: str) -> AsyncGenerator[None]:
    """Every request of an agent, shared by the replicas of a queue. `respond` raises nothing."""
    responder = _Responder(answers, respond)
    subscription = await bus.nats.subscribe(AGENT.filter(), queue=queue, cb=responder.receive)
    await bus.nats.flush()
    try:
        yield
    finally:
        if not bus.nats.is_closed:
            await subscription.unsubscribe()
        await responder.close()


class _Responder:
    def __init__(self, answers: Bus, respond: Respond) -> None:
        self._answers = answers
        self._respond = respond
        self._pending: set[asyncio.Task[None]] = set()
        self._busy = Counter[str]()

    async def receive(self, message: Msg) -> None:
        try:
            fields = AGENT.parse(message.subject)
        except BadSubject:
            metrics.agent_turned_away("subject")
            return
        agent = fields["agent"]
        if not is_inbox_of(agent, message.reply):
            metrics.agent_turned_away("reply")
            log.warning(
                "an agent named a reply subject that is not its own: nothing was done",
                agent=agent,
                subject=message.subject,
                reply=message.reply[:200],
            )
            return
        crowded = self._busy.total() >= MOST or self._busy[agent] >= MOST_OF_ONE
        request = AgentRequest(agent, f"{fields['noun']}.{fields['action']}", message.data, crowded)
        if not crowded:
            self._busy[agent] += 1
        task = asyncio.create_task(self._answer(request, message.reply))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _answer(self, request: AgentRequest, reply: str) -> None:
        try:
            answer = await self._respond(request)
        finally:
            if not request.crowded:
                self._busy[request.agent] -= 1
                if not self._busy[request.agent]:
                    del self._busy[request.agent]
        headers = {STATUS_HEADER: str(answer.status), **answer.headers}
        try:
            await self._answers.nats.publish(reply, answer.body, headers=headers)
        except NatsError as problem:
            log.warning("an agent could not be answered", agent=request.agent, door=request.door, problem=repr(problem))

    async def close(self) -> None:
        """What takes longer than `GRACE` to be answered is let go: the agent asks again, with its key."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=GRACE)
        for task in self._pending:
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)
