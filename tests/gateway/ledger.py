"""What the bus holds after a request, looked at by the witness, who may read everything."""

from __future__ import annotations

import asyncio
import json

from libs.contracts.operations import OperationAccepted, Recorded
from libs.contracts.streams import COMMANDS, EVENTS, Reservation, Stream
from libs.contracts.subjects import RECORD
from libs.contracts.tools import ToolCommand
from libs.runtime.bus.names import Names
from libs.runtime.bus.stored import Kept
from tests.support.stage import WITHIN, Stage


class Ledger:
    def __init__(self, stage: Stage) -> None:
        self._bus = stage.witness

    async def commands(self, operation: str | None = None) -> list[ToolCommand]:
        """All that are stored (of one operation), the oldest first."""
        found = [kept.open().data for kept in await self._all(COMMANDS, "machete.cmd.v1.>")]
        commands = [each for each in found if isinstance(each, ToolCommand)]
        return [each for each in commands if operation in (None, each.operation)]

    async def record(self, operation: str = "*") -> list[Recorded]:
        """The events of this operation's record, or of all records."""
        found = [kept.open().data for kept in await self._all(EVENTS, RECORD.filter(operation=operation))]
        return [event for event in found if isinstance(event, Recorded)]

    async def sequence(self, operation: str, kind: type[Recorded]) -> int:
        """Where the one event of this kind stands in EVENTS."""
        kept = await self._all(EVENTS, RECORD.filter(operation=operation))
        (found,) = [each.sequence for each in kept if isinstance(each.open().data, kind)]
        return found

    async def holder(self, name: str) -> Reservation | None:
        return (await Names(self._bus).find(name)).reservation

    async def accepted_once(self, operation: str) -> ToolCommand:
        """The operation's one stored command; it has one record with one beginning, about the same tool."""
        (command,) = await self.commands(operation)
        (accepted,) = [each for each in await self.record(operation) if isinstance(each, OperationAccepted)]
        assert (accepted.tool, accepted.digest, accepted.kind) == (command.tool, command.digest, command.action)
        return command

    async def extent(self) -> dict[str, int]:
        """The last sequence of every stream and bucket: unchanged if nothing was stored."""
        async with asyncio.timeout(WITHIN):
            while True:
                answer = await self._bus.nats.request("$JS.API.STREAM.LIST", b'{"offset": 0}', timeout=WITHIN)
                told = json.loads(answer.data)
                # A server of a cluster that was just killed answers at once, and names what it waits for.
                if not told.get("missing") and len(told["streams"]) == told["total"]:
                    return {each["config"]["name"]: each["state"]["last_seq"] for each in told["streams"]}
                await asyncio.sleep(0.05)

    async def _all(self, stream: Stream, subject: str) -> list[Kept]:
        found: list[Kept] = []
        kept = await self._bus.next(stream, subject, 1)
        while kept is not None:
            found.append(kept)
            kept = await self._bus.next(stream, subject, kept.sequence + 1)
        return found
