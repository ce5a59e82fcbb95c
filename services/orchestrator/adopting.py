"""Takes over tools that are here and of which the streams know nothing: those were lost, and began anew.

Every tool that ever was has a last record in STATE, also when it is gone, and what is kept in its folder was written
after that record. So a folder without a record says for certain that the record was lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog

from libs.contracts.names import new_operation_id
from libs.contracts.operations import OperationStarted, OperationSucceeded
from libs.contracts.principals import Principal
from libs.contracts.problems import Failure
from libs.contracts.streams import COMMANDS, Reservation
from libs.contracts.subjects import lane
from libs.contracts.tools import InstallTool, Tool, ToolState
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Conflict, Unavailable
from libs.runtime.bus.logs import LogWriter
from libs.runtime.bus.names import Names
from libs.runtime.bus.records import Record, Records, accepted
from libs.runtime.bus.states import States
from services.orchestrator.domain.failures import EngineAway
from services.orchestrator.domain.plan import as_seen
from services.orchestrator.ports import Containers, KeptTools

log = structlog.get_logger(__name__)

SELF = Principal(kind="service", name="orchestrator", role="admin")
RETRY = 1.0
AT_MOST = timedelta(minutes=10)

Result = TypeVar("Result")


class NameHeld(Exception):
    """Another tool has been given the name; the text says which."""


@dataclass(frozen=True)
class Adopting:
    """`adopt_all` may be done by several at once, and broken off anywhere: the operation's record has one end."""

    bus: Bus
    states: States
    containers: Containers
    kept: KeptTools

    async def adopt_all(self) -> None:
        """Returns when all that can be taken over is. Waits for the engine and for NATS."""
        found = await self.kept.all()
        lost = [tool for tool in found.tools if await self._persistently(partial(self._is_lost, tool.id))]
        for each in found.unreadable:
            if await self._persistently(partial(self._is_stranger, each.tool)):
                log.error("a tool's folder tells nothing of it; it stays", folder=each.folder, problem=each.problem)
        if not lost:
            return
        log.error("the streams know nothing of tools that are here: they are taken over", tools=len(lost))
        for tool in lost:
            try:
                await self._persistently(partial(self._adopt, tool))
            except (NameHeld, Failure) as problem:
                log.error("a tool was not taken over; it stays as it is", tool=tool.id, problem=str(problem))
        await self._persistently(partial(self._name_strangers, {tool.id for tool in found.tools}))

    async def _persistently(self, do: Callable[[], Awaitable[Result]]) -> Result:
        """Again and again while the engine or NATS is away, or another one was quicker."""
        told = ""
        while True:
            try:
                return await do()
            except (EngineAway, Unavailable, Conflict) as problem:
                if told != type(problem).__name__:
                    told = type(problem).__name__
                    log.warning("taking tools over waits", problem=str(problem))
                await asyncio.sleep(RETRY)

    async def _is_lost(self, tool: str) -> bool:
        recorded, fence = await self.states.judged(tool)
        return recorded is None and fence == 0

    async def _is_stranger(self, tool: str) -> bool:
        """Nothing is known of it, and nothing is about to be: its install may be under way."""
        return await self._is_lost(tool) and await self.bus.next(COMMANDS, lane(tool), 1) is None

    async def _adopt(self, tool: Tool) -> None:
        """As an install that had nothing to do: its name is reserved, and it is what the engine shows of it."""
        command = InstallTool(
            tool=tool.id,
            tool_name=tool.name,
            operation=new_operation_id(SELF.label, f"adopt.{tool.id}"),
            requested_by=SELF,
            digest="adopt",
            source=tool.source,
        )
        await self._reserve(command)
        records = Records(self.bus)
        record = await self._begun(records, command)
        if record.ended is None:
            await self._say(command)
            failure = tool.reason if tool.state is ToolState.FAILED and tool.desired == "stopped" else None
            now_is = as_seen(tool, await self.containers.observe(tool.id), tool.desired, failure)
            record = await records.append(record, _succeeded(command, record, now_is))
            log.warning("taken over", tool=tool.id, state=now_is.state, address=" ".join(now_is.urls))
        if record.ended is not None:
            await self.states.record(record.ended, record.ended_at)

    async def _begun(self, records: Records, command: InstallTool) -> Record:
        """Its record with a start of our own at the end, unless it has ended."""
        record = await records.read(command.tool, command.operation)
        if not record.entries:
            record = await records.append(record, accepted(command))
        if record.ended is not None:
            return record
        now = self.bus.clock.now()
        started = OperationStarted(
            operation=command.operation,
            tool=command.tool,
            worker=self.bus.source,
            attempt=len(record.starts) + 1,
            started_at=now,
            deadline=now + AT_MOST,
        )
        return await records.append(record, started)

    async def _say(self, command: InstallTool) -> None:
        async with LogWriter(self.bus, command.tool, command.operation).writing() as writer:
            await writer.write(
                [
                    "The streams were lost. This tool is taken over as it stands, from what is kept in its folder.",
                    "What happened to it before is not known any more, and its source is what was unpacked then.",
                ]
            )

    async def _reserve(self, command: InstallTool) -> None:
        """Raises `NameHeld`."""
        names = Names(self.bus)
        await names.claim_id(command.tool, command.operation)
        held = await names.find(command.tool_name)
        if held.reservation is None:
            now = self.bus.clock.now().timestamp()
            wanted = Reservation(tool=command.tool, operation=command.operation, reserved_at=now)
            if await names.reserve(command.tool_name, wanted, held.revision):
                return
            held = await names.find(command.tool_name)
        if held.reservation is None or held.reservation.tool != command.tool:
            other = held.reservation.tool if held.reservation is not None else "another one"
            raise NameHeld(
                f"its name {command.tool_name} belongs to {other} now: uninstall that one, and start the platform again"
            )

    async def _name_strangers(self, known: set[str]) -> None:
        for tool in await self.containers.orphans(known):
            if await self._is_stranger(tool):
                log.error("containers of a tool that nobody knows any more; they stay as they are", tool=tool)


def _succeeded(command: InstallTool, record: Record, tool: Tool) -> OperationSucceeded:
    return OperationSucceeded(
        operation=command.operation,
        tool=command.tool,
        fence=record.fence,
        effect="changed",
        state=tool,
        ended_at=datetime.now(UTC),
    )
