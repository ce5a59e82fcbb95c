"""Records: reading and extending the life of an operation, one event at a time.

Every append names the sequence it expects last, so of two writers one loses and looks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import structlog

from libs.contracts.envelope import Envelope, Undecodable, new_message_id
from libs.contracts.operations import (
    CancelRequested,
    OperationAccepted,
    OperationEnded,
    OperationStarted,
    Recorded,
)
from libs.contracts.principals import Principal
from libs.contracts.streams import EVENTS
from libs.contracts.subjects import RECORD
from libs.contracts.tools import InstallTool, ToolCommand
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Conflict
from libs.runtime.bus.stored import Kept

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Entry:
    sequence: int
    event: Recorded
    id: str


@dataclass(frozen=True)
class Record:
    """What is known of an operation, oldest first. `unreadable` is the newest place that holds no event of ours."""

    entries: tuple[Entry, ...] = ()
    unreadable: int = 0

    @property
    def last(self) -> int:
        """The sequence that the next append must expect."""
        return max(self.entries[-1].sequence if self.entries else 0, self.unreadable)

    @cached_property
    def accepted(self) -> OperationAccepted | None:
        return next((e.event for e in self.entries if isinstance(e.event, OperationAccepted)), None)

    @property
    def position(self) -> int:
        return self.entries[0].sequence if self.entries else 0

    @cached_property
    def starts(self) -> tuple[tuple[int, OperationStarted], ...]:
        return tuple((e.sequence, e.event) for e in self.entries if isinstance(e.event, OperationStarted))

    @property
    def fence(self) -> int:
        """The sequence of the newest start; 0 before the first."""
        return self.starts[-1][0] if self.starts else 0

    @cached_property
    def cancel(self) -> CancelRequested | None:
        return next((e.event for e in self.entries if isinstance(e.event, CancelRequested)), None)

    @cached_property
    def ended(self) -> OperationEnded | None:
        return next((e.event for e in self.entries if isinstance(e.event, OperationEnded)), None)

    @property
    def ended_at(self) -> int:
        """The sequence of the terminal event; 0 before it."""
        return next((e.sequence for e in self.entries if isinstance(e.event, OperationEnded)), 0)


class Records:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def read(self, tool: str, operation: str) -> Record:
        """The whole record, from the stream's leader; empty when there is none. What cannot be read is passed over.

        Most records hold one event when they are read first, so the last one is asked for before the rest.
        """
        subject = RECORD.build({"tool": tool, "operation": operation})
        last = await self._bus.last(EVENTS, subject)
        if last is None:
            return Record()
        newest = _entry(last)
        if newest is not None and isinstance(newest.event, OperationAccepted):
            return Record((newest,))
        found: list[Kept] = []
        async for kept in self._bus.each(EVENTS, subject):
            if kept.sequence >= last.sequence:
                break
            found.append(kept)
        entries = [_entry(kept) for kept in (*found, last)]
        unreadable = [kept.sequence for kept, entry in zip((*found, last), entries, strict=True) if entry is None]
        return Record(tuple(entry for entry in entries if entry is not None), max(unreadable, default=0))

    async def append(self, record: Record, event: Recorded, *, causation: str | None = None) -> Record:
        """The record with the event in it; raises `Conflict` when somebody else appended first."""
        id = new_message_id()
        try:
            stored = await self._bus.publish(
                EVENTS, event, id=id, expected=record.last, correlation=event.operation, causation=causation
            )
        except Conflict:
            current = await self.read(event.tool, event.operation)
            if any(entry.id == id for entry in current.entries):
                return current
            raise
        return Record((*record.entries, Entry(stored.sequence, event, id)), record.unreadable)

    async def request_cancel(self, tool: str, operation: str, requested_by: Principal) -> Record:
        """Asks for an end, unless it has ended or was asked before; returns the record as it then is."""
        while True:
            record = await self.read(tool, operation)
            if not record.entries or record.ended or record.cancel:
                return record
            event = CancelRequested(operation=operation, tool=tool, requested_by=requested_by)
            try:
                return await self.append(record, event)
            except Conflict:
                continue


def accepted(command: ToolCommand, at: datetime | None = None) -> OperationAccepted:
    """The first event of a command's record; the same whoever writes it."""
    return OperationAccepted(
        operation=command.operation,
        tool=command.tool,
        kind=command.action,  # pyright: ignore[reportArgumentType]
        tool_name=command.tool_name,
        requested_by=command.requested_by,
        digest=command.digest,
        created_at=at or datetime.now(UTC),
        source=command.source if isinstance(command, InstallTool) else None,
        retry_of=command.retry_of,
    )


def _entry(kept: Kept) -> Entry | None:
    """None for what is no event: it would hold up its operation, and with that its tool, for ever."""
    try:
        envelope: Envelope[Recorded] = kept.open()  # pyright: ignore[reportAssignmentType]
    except Undecodable as problem:
        log.debug("an event cannot be read", subject=kept.subject, sequence=kept.sequence, problem=str(problem))
        return None
    return Entry(kept.sequence, envelope.data, envelope.id)
