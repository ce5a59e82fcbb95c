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
from libs.runtime.bus.connection import Bus, Conflict
from libs.runtime.bus.delivery import Delivery
from libs.runtime.bus.records import Records

log = structlog.get_logger(__name__)

# Longer than a gateway takes from the command to its record, over an outage of NATS too.
ACCEPTED_WITHIN = 5.0


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


async def bury(bus: Bus, records: Records, delivery: Delivery, reason: str) -> None:
    """Keeps an undecodable command, ends its operation visibly if it names one, and takes it off the queue."""
    async with delivery.held():
        letter = await keep(bus, COMMANDS, delivery, reason)
        if letter.operation is not None and is_tool_id(letter.tool):
            await _fail(records, letter, letter.operation)
    await delivery.term()


async def _fail(records: Records, letter: DeadLetter, operation: str) -> None:
    clock = asyncio.get_running_loop()
    give_up = clock.time() + ACCEPTED_WITHIN
    while True:
        record = await records.read(letter.tool, operation)
        if record.ended is not None or record.starts:
            return  # who has begun could read its command: this is another message that only says the same name
        if record.accepted is None and clock.time() < give_up:
            await asyncio.sleep(0.1)  # the gateway is about to write it, and a record without it has no beginning
            continue
        failed = OperationFailed(
            operation=operation,
            tool=letter.tool,
            fence=record.fence,
            effect="none",
            ended_at=datetime.now(UTC),
            error=Problem(code="undecodable", message=f"The command could not be read: {letter.reason}"),
        )
        try:
            await records.append(record, failed)
            return
        except Conflict:
            continue


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
