"""Who may connect to NATS besides the services: asked by the server, answered from what the gateway knows.

And the other way round: ending the connections of those who may no longer.
"""

# nats-py leaves the types of its keyword parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from libs.contracts.permissions import CALLOUT, agent_permissions
from libs.runtime import metrics
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.cancellation import abandon
from libs.runtime.logging import get_logger
from libs.runtime.nats_callout import Callout, admission, asked, refusal, signer
from libs.runtime.nats_config import MACHETE
from libs.runtime.nats_keys import BadToken, Issuer

# At one time: each costs up to 50 µs for every agent there is, in a thread.
MOST_AT_ONCE = 4
# What the server calls an agent: `agent:robot:U…`, name and key. No user of its configuration has such a name.
AGENTS = "agent"
PAGE = 1024
PATIENCE = 2.0
LONGEST = 30.0

log = get_logger(__name__)

KnownAgents = Callable[[], Awaitable[Sequence[tuple[str, str]]]]
"""Who there is, as (name, public key). May raise: then the stranger is turned away and tries again."""


@asynccontextmanager
async def authorizing_agents(bus: Bus, issuer: Issuer, known: KnownAgents, *, queue: str) -> AsyncGenerator[None]:
    """Answers the server for as long as it lasts. Replicas of a queue share the questions."""
    pending: set[asyncio.Task[None]] = set()
    turn = asyncio.Semaphore(MOST_AT_ONCE)

    async def judge(callout: Callout) -> bytes:
        try:
            async with turn:
                there = await known()
                found = await asyncio.to_thread(signer, callout, there)
        except Exception as problem:
            log.exception("it is not known who may connect", problem=repr(problem))
            return refusal(callout, issuer, "the gateway cannot tell")
        if found is None:
            metrics.agent_turned_away("credentials")
            log.warning("somebody was not let into NATS", name=callout.name[:100], key=callout.key[:100])
            return refusal(callout, issuer, "no agent has signed")
        log.info("an agent connected", agent=found[0])
        return admission(callout, issuer, ":".join((AGENTS, *found)), agent_permissions(found[0]))

    async def receive(message: Msg) -> None:
        try:
            callout = asked(message.data)
        except BadToken as problem:
            log.warning("this is no question of a NATS server", problem=str(problem))
            return
        task = asyncio.create_task(respond(message, callout))
        pending.add(task)
        task.add_done_callback(pending.discard)

    async def respond(message: Msg, callout: Callout) -> None:
        await message.respond(await judge(callout))

    subscription = await bus.nats.subscribe(CALLOUT, queue=queue, cb=receive)
    await bus.flush()
    try:
        yield
    finally:
        if not bus.nats.is_closed:
            await subscription.unsubscribe()
        await abandon(*pending)


async def disconnect(connecting: AbstractAsyncContextManager[Bus], gone: Callable[[str], bool]) -> int:
    """Ends the connections of agents whose key is `gone`, on all servers of a cluster; returns how many there were.

    `connecting` is entered as the user `warden`, and left. Raises `Unavailable`.
    """
    try:
        async with asyncio.timeout(LONGEST), connecting as warden:
            return await _disconnect(warden, gone)
    except (NatsError, TimeoutError, OSError) as problem:
        raise Unavailable(f"NATS does not say who is connected: {problem!r}") from problem


async def _disconnect(warden: Bus, gone: Callable[[str], bool]) -> int:
    ended = 0
    for server in await _connections(warden):
        for connection in server["data"]["connections"] or ():
            kind, _, agent = str(connection.get("authorized_user", "")).partition(":")
            if kind != AGENTS or not gone(agent.rpartition(":")[2]):
                continue
            order = json.dumps({"cid": connection["cid"]}).encode()
            await warden.nats.request(f"$SYS.REQ.SERVER.{server['server']['id']}.KICK", order, timeout=PATIENCE)
            ended += 1
    return ended


async def _connections(warden: Bus) -> list[dict[str, Any]]:
    """What every server that answers in time says of its connections, page by page."""
    found: list[dict[str, Any]] = []
    offset = 0
    while True:
        wanted = {"auth": True, "acc": MACHETE, "limit": PAGE, "offset": offset}
        answers = await _ask_all(warden, "$SYS.REQ.SERVER.PING.CONNZ", json.dumps(wanted).encode())
        found += answers
        offset += PAGE
        if all(answer["data"]["total"] <= offset for answer in answers):
            return found


async def _ask_all(warden: Bus, subject: str, payload: bytes, quiet: float = 0.3) -> list[dict[str, Any]]:
    """The answers of all who answer, until none has come for `quiet` seconds."""
    inbox = warden.nats.new_inbox()
    subscription = await warden.nats.subscribe(inbox)
    answers: list[dict[str, Any]] = []
    try:
        await warden.nats.publish(subject, payload, reply=inbox)
        while True:
            try:
                answer = await subscription.next_msg(timeout=quiet if answers else PATIENCE)
            except TimeoutError:
                return answers
            answers.append(json.loads(answer.data))
    finally:
        await subscription.unsubscribe()
