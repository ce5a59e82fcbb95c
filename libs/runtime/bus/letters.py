"""What cannot be handled is kept, with its reason, before it leaves its queue."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any

import structlog

from libs.contracts.letters import PAYLOAD_BYTES, DeadLetter
from libs.contracts.names import TOKEN, is_operation_id, is_tool_id
from libs.contracts.operations import OperationFailed
from libs.contracts.problems import Problem
from libs.contracts.streams import COMMANDS, DEAD_LETTERS, Stream
from libs.contracts.tasks import Task, TaskEnded
from libs.runtime import metrics
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.delivery import Delivery
from libs.runtime.bus.failures import Conflict
from libs.runtime.bus.records import Records

log = structlog.get_logger(__name__)

# Longer than a gateway takes from the command to its record, over an outage of NATS too.
ACCEPTED_WITHIN = 5.0
LOOK_AGAIN = 0.2
BURIED_AT_ONCE = 16


async def keep(
    bus: Bus, stream: Stream, delivery: Delivery, reason: str, about: Task | TaskEnded | None = None
) -> DeadLetter:
    """The letter, stored once however often this is called for the same message. `about` knows whose a task is."""
    letter = DeadLetter(
        stream=stream.name,
        tool=_tool(delivery.subject) if about is None else about.tool,
        subject_was=delivery.subject,
        sequence=delivery.sequence,
        deliveries=delivery.deliveries,
        reason=reason,
        operation=_operation(delivery) if about is None else about.operation,
        payload=delivery.data[:PAYLOAD_BYTES].decode("utf-8", "backslashreplace"),
        given_up_at=datetime.now(UTC),
    )
    # With the payload's digest: the sequences of a stream that was lost and made anew begin again.
    digest = hashlib.sha256(delivery.data).hexdigest()[:32]
    await bus.publish(DEAD_LETTERS, letter, id=f"{stream.name}.{delivery.sequence}.{digest}")
    metrics.dead_letters.labels(stream.name).inc()
    log.error("kept as a dead letter", subject=delivery.subject, reason=reason)
    return letter


class Burial:
    """Keeps commands that cannot be read, ends their operations visibly where they name one, takes them off the queue.

    A few at once, and without heartbeats where it is done at once: however many there are, those of what is worked on
    are in time. What comes again meanwhile is the caller's to recognise.
    """

    def __init__(self, bus: Bus, records: Records) -> None:
        self._bus = bus
        self._records = records
        self._places = asyncio.Semaphore(BURIED_AT_ONCE)

    async def bury(self, delivery: Delivery, reason: str) -> None:
        async with self._places:
            letter = await keep(self._bus, COMMANDS, delivery, reason)
        if letter.operation is not None and is_tool_id(letter.tool):
            await self._fail(letter, letter.operation, delivery)
        async with self._places:
            await delivery.term()

    async def _fail(self, letter: DeadLetter, operation: str, delivery: Delivery) -> None:
        """At once, where it was accepted; else the gateway is about to say so, and a record must begin with that."""
        if await self._failed(letter, operation, accepted=True):
            return
        async with delivery.held():
            for _ in range(int(ACCEPTED_WITHIN / LOOK_AGAIN)):
                await asyncio.sleep(LOOK_AGAIN)
                if await self._failed(letter, operation, accepted=True):
                    return
            while not await self._failed(letter, operation, accepted=False):
                log.debug("somebody else wrote into the record", operation=operation)

    async def _failed(self, letter: DeadLetter, operation: str, *, accepted: bool) -> bool:
        """`accepted`: only if it is. Who has begun could read its command: that is another that says the same name."""
        async with self._places:
            record = await self._records.read(letter.tool, operation)
            if record.ended is not None or record.starts:
                return True
            if accepted and record.accepted is None:
                return False
            try:
                await self._records.append(record, _unread(letter, operation, record.fence))
            except Conflict:
                return False
            return True


def _unread(letter: DeadLetter, operation: str, fence: int) -> OperationFailed:
    return OperationFailed(
        operation=operation,
        tool=letter.tool,
        fence=fence,
        effect="none",
        ended_at=datetime.now(UTC),
        error=Problem(code="undecodable", message=f"The command could not be read: {letter.reason}"),
    )


def _tool(subject: str) -> str:
    """The tool's token in a command's subject; `unknown` for one that has none that could be a name."""
    tokens = subject.split(".")
    named = len(tokens) > 5 and tokens[3] == "tool" and re.fullmatch(TOKEN, tokens[4])
    return tokens[4] if named else "unknown"


def _operation(delivery: Delivery) -> str | None:
    """The operation that a body names, unless it is one of another tool than the subject's: that one is not ours."""
    try:
        said: Any = json.loads(delivery.data)["data"]
        operation, tool = said["operation"], said.get("tool")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):  # the last: nested too deeply
        return None
    if tool not in (None, _tool(delivery.subject)):
        return None
    return operation if isinstance(operation, str) and is_operation_id(operation) else None
