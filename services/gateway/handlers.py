"""What becomes of a request: one operation, whatever is repeated, raced for, or broken off in between.

The order is the guarantee. Look for the operation (with a key), find or reserve the tool, publish the command
under the operation's id, append `accepted`: after each step a repetition with the same key goes on where the
last one stopped, and only after the last one is the request accepted.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from libs.contracts.names import is_operation_id, tool_id
from libs.contracts.operations import OperationAccepted
from libs.contracts.principals import Principal
from libs.contracts.problems import Problem as Said
from libs.contracts.queries import Answer, AuthenticateToken
from libs.contracts.streams import COMMANDS, EVENTS, Reservation
from libs.contracts.subjects import RECORD, lane
from libs.contracts.tools import ToolCommand
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Conflict, Refused, TooManyOfSubject, TooManyWaiting, Unavailable
from libs.runtime.bus.lanes import readable
from libs.runtime.bus.names import Held, Names
from libs.runtime.bus.records import Record, Records, accepted
from libs.runtime.bus.states import States
from libs.runtime.bus.stored import Stored
from libs.runtime.http.problems import Problem
from libs.runtime.logging import get_logger
from services.gateway import problems
from services.gateway.admission import Admission
from services.gateway.domain.requests import Request
from services.gateway.domain.reservations import Findings, is_abandoned
from services.gateway.ports import Accounts

MOST_NAMED = 20

log = get_logger(__name__)


@dataclass(frozen=True)
class Acceptance:
    """`position` is the sequence of what was just added to the record, or found there."""

    accepted: OperationAccepted
    record: Record
    position: int
    waiting_for: tuple[str, ...] = ()


class Gateway:
    """`patience` is how long NATS may take over a request, in seconds; after it, 503."""

    def __init__(self, bus: Bus, patience: float, admission: Admission) -> None:
        self._bus = bus
        self._admission = admission
        self._records = Records(bus)
        self._names = Names(bus)
        self._states = States(bus)
        self._patience = patience

    async def accept(self, request: Request) -> Acceptance:
        """The operation of this request, stored for good. Raises one of `services.gateway.problems`."""
        try:
            async with asyncio.timeout(self._patience):
                if not self._bus.connected:
                    await self._connected()
                return await self._accept(request)
        except (TimeoutError, Unavailable) as problem:
            log.warning("not accepted: NATS did not answer", operation=request.operation, problem=repr(problem))
            raise problems.bus_unavailable() from problem

    async def repeated(self, operation: str, digest: str) -> Acceptance | None:
        """What an earlier request of this digest became, None if there was none under this id."""
        try:
            async with asyncio.timeout(self._patience):
                await self._connected()
                record = await self._find(operation)
                return None if record is None else await self._again(operation, digest, record)
        except (TimeoutError, Unavailable) as problem:
            raise problems.bus_unavailable() from problem

    async def cancel(self, operation: str, by: Principal) -> Acceptance:
        """The operation is asked to end. Raises one of `services.gateway.problems`."""
        try:
            async with asyncio.timeout(self._patience):
                await self._connected()
                return await self._cancel(operation, by)
        except (TimeoutError, Unavailable) as problem:
            raise problems.bus_unavailable() from problem
        except Refused as problem:
            raise _full(problem) from problem

    async def _connected(self) -> None:
        """What is published while there is no connection might be sent after the caller was told that it was not."""
        async with self._bus.noticing_reconnects() as reconnected:
            while not self._bus.connected:
                await reconnected.wait()
                reconnected.clear()

    async def _accept(self, request: Request) -> Acceptance:
        if request.key is not None:
            record = await self._find(request.operation)
            if record is not None:
                return await self._repeated(request, record)
        tool = None
        try:
            held = await self._names.find(request.name)
            if request.action == "install":
                async with self._admission.room(request):
                    return await self._publish(request, request.command(await self._reserve(request, held)))
            tool = self._tool(request, held)
            async with self._admission.room(request, tool):
                return await self._publish(request, request.command(tool))
        except TooManyOfSubject as problem:
            raise self._admission.full(request, tool) from problem
        except TooManyWaiting as problem:
            raise self._admission.full(request) from problem
        except Refused as problem:
            raise _full(problem) from problem

    async def _find(self, operation: str) -> Record | None:
        """The record, whatever tool it is about: a name may have gone to another tool since."""
        last = await self._bus.last(EVENTS, RECORD.filter(operation=operation))
        if last is None:
            return None
        return await self._records.read(RECORD.parse(last.subject)["tool"], operation)

    def _tool(self, request: Request, held: Held) -> str:
        if held.reservation is None or request.tool not in (None, held.reservation.tool):
            raise problems.no_tool(request.tool or request.name)
        return held.reservation.tool

    async def _reserve(self, request: Request, held: Held) -> str:
        """The id of the tool to be. Of all who want the name, one operation gets it."""
        tool: str | None = None
        while True:
            if held.reservation is not None:
                if held.reservation.operation == request.operation:
                    return held.reservation.tool
                if not await self._abandoned(held.reservation):
                    raise problems.name_taken(request.name, held.reservation)
            tool = tool or await self._new_id(request)
            wanted = Reservation(tool=tool, operation=request.operation, reserved_at=self._now())
            if await self._names.reserve(request.name, wanted, held.revision):
                return tool
            held = await self._names.find(request.name)

    async def _new_id(self, request: Request) -> str:
        attempt = 0
        while True:
            tool = tool_id(request.name, request.operation, attempt)
            if await self._names.claim_id(tool, request.operation):
                return tool
            attempt += 1

    async def _abandoned(self, reservation: Reservation) -> bool:
        waiting = await self._has_unended(reservation.tool)
        record = await self._records.read(reservation.tool, reservation.operation)
        exists = await self._states.read(reservation.tool)
        events = [entry.event for entry in record.entries]
        return is_abandoned(reservation, Findings(waiting, events, exists is not None), self._now())

    def _now(self) -> float:
        """Seconds that other gateways count as well: a name is not to be taken by one whose clock is ahead."""
        return self._bus.clock.now().timestamp()

    async def _has_unended(self, tool: str) -> bool:
        """Whether a command waits for the tool. One that has ended is still there until it is acknowledged."""
        async for kept in self._bus.each(COMMANDS, lane(tool)):
            command = readable(kept)
            if command is None or not (await self._records.read(tool, command.operation)).ended:
                return True
        return False

    async def _publish(self, request: Request, command: ToolCommand) -> Acceptance:
        stored = await self._store(request, command)
        if stored.duplicate:
            kept = await self._bus.at(COMMANDS, stored.sequence)
            if kept is None:
                return await self._done_already(request)
            earlier = readable(kept)
            if earlier is None or earlier.digest != request.digest:
                raise problems.key_reused(request.operation)
            command = earlier
        acceptance = await self._record(command)
        self._admission.accepted(acceptance.record)
        return acceptance

    async def _store(self, request: Request, command: ToolCommand) -> Stored:
        try:
            return await self._bus.publish(
                COMMANDS, command, id=request.operation, correlation=request.operation, patience=self._patience
            )
        except Refused:
            await self._give_back(request)
            raise

    async def _give_back(self, request: Request) -> None:
        """A name reserved for a command that was refused. With a key another try may be on its way, and keeps it."""
        if request.action != "install" or request.key is not None:
            return
        held = await self._names.find(request.name)
        if held.reservation is not None and held.reservation.operation == request.operation:
            await self._names.free(request.name, held.revision)

    async def _done_already(self, request: Request) -> Acceptance:
        """A command that was stored and is no longer was carried out, and its record says how."""
        record = await self._find(request.operation)
        if record is None:
            raise Unavailable(f"the command of {request.operation} is gone, and its record is not there yet")
        return await self._repeated(request, record)

    async def _repeated(self, request: Request, record: Record) -> Acceptance:
        """The operation that this very request led to before."""
        return await self._again(request.operation, request.digest, record)

    async def _again(self, operation: str, digest: str, record: Record) -> Acceptance:
        if record.accepted is None:
            raise Unavailable("the record has no beginning")
        if record.accepted.digest != digest:
            raise problems.key_reused(operation)
        ahead = await self._ahead(record.accepted.tool, operation)
        return Acceptance(record.accepted, record, record.position, ahead)

    async def _record(self, command: ToolCommand) -> Acceptance:
        """Together with the look at who comes first: neither depends on the other."""
        record, ahead = await asyncio.gather(self._first_event(command), self._ahead(command.tool, command.operation))
        if record.accepted is None:
            raise Unavailable("the record has no beginning")
        return Acceptance(record.accepted, record, record.position, ahead)

    async def _first_event(self, command: ToolCommand) -> Record:
        """A worker that was quicker, or another try of the same request, may have written it."""
        try:
            return await self._records.append(Record(), accepted(command), causation=command.operation)
        except Conflict:
            return await self._records.read(command.tool, command.operation)

    async def _ahead(self, tool: str, operation: str) -> tuple[str, ...]:
        """The operations that come first in the tool's lane, the oldest of them if there are many.

        None where it is not in the lane any more: it has had its turn.
        """
        found: list[str] = []
        async for kept in self._bus.each(COMMANDS, lane(tool)):
            other = readable(kept)
            if len(found) == MOST_NAMED or (other is not None and other.operation == operation):
                return tuple(found)
            if other is not None:
                found.append(other.operation)
        return ()

    async def _cancel(self, operation: str, by: Principal) -> Acceptance:
        found = await self._find(operation) if is_operation_id(operation) else None
        if found is None or found.accepted is None:
            raise problems.no_operation(operation)
        record = found if found.ended else await self._records.request_cancel(found.accepted.tool, operation, by)
        if record.ended is not None:
            raise problems.operation_ended(operation, record.ended)
        return Acceptance(found.accepted, record, record.last)


@dataclass(frozen=True)
class Authentication:
    """Whose token it is, for the services that have an HTTP edge of their own."""

    accounts: Accounts

    async def answer(self, question: AuthenticateToken) -> Answer[Principal]:
        principal = await self.accounts.authenticate(question.token)
        if principal is None:
            problem = Said(code="unauthenticated", message="The token shown is not valid here.")
            return Answer[Principal](status=401, problem=problem)
        return Answer[Principal](result=principal)


def _full(problem: Refused) -> Problem:
    log.error("the bus takes no more", problem=str(problem))
    return problems.storage_full()
