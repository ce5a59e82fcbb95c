"""What outlives an operation: the tool's state and its name.

Both are written after the terminal event and before the acknowledgement, and may be written again:
a crash in between brings the command back, its record says that it ended, and this is repeated.
"""

from __future__ import annotations

from libs.contracts.operations import OperationEnded
from libs.contracts.streams import STATES
from libs.contracts.subjects import STATE
from libs.contracts.tools import Tool, ToolCommand, ToolRecorded
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Conflict
from libs.runtime.bus.names import Names


class States:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._names = Names(bus)

    async def read(self, tool: str) -> Tool | None:
        """The tool as its last record left it; None before its install ended well and after it is gone."""
        recorded, _ = await self._last(tool)
        return recorded.state if recorded is not None else None

    async def judged(self, tool: str) -> tuple[Tool | None, int]:
        """The tool, and the sequence of the record's end that it is as of (0: it has none)."""
        recorded, _ = await self._last(tool)
        return (recorded.state, recorded.fence) if recorded is not None else (None, 0)

    async def last_operation(self, tool: str) -> str | None:
        """The operation that its last record is of."""
        recorded, _ = await self._last(tool)
        return recorded.operation if recorded is not None else None

    async def all(self) -> list[ToolRecorded]:
        """Of every tool that ever was, its last record."""
        said = [kept.message() async for kept in self._bus.each(STATES, STATE.filter())]
        return [message for message in said if isinstance(message, ToolRecorded)]

    async def record(self, ended: OperationEnded, sequence: int) -> None:
        """Makes the terminal event's state the tool's, unless a later record has spoken.

        `sequence` is the terminal event's own: it orders the ends of a tool's operations.
        """
        if ended.effect == "none":
            return
        while True:
            recorded, last = await self._last(ended.tool)
            if recorded is not None and recorded.fence >= sequence:
                return
            message = ToolRecorded(tool=ended.tool, fence=sequence, operation=ended.operation, state=ended.state)
            try:
                await self._bus.publish(STATES, message, expected=last)
                return
            except Conflict:
                continue

    async def _last(self, tool: str) -> tuple[ToolRecorded | None, int]:
        kept = await self._bus.last(STATES, STATE.build({"tool": tool}))
        if kept is None:
            return None, 0
        recorded = kept.message()
        return (recorded if isinstance(recorded, ToolRecorded) else None), kept.sequence

    async def holds_name(self, command: ToolCommand) -> bool:
        """Whether the tool's name is reserved for this very tool."""
        held = await self._names.find(command.tool_name)
        return held.reservation is not None and held.reservation.tool == command.tool

    async def release_name(self, tool: str, name: str) -> None:
        """Frees the name if this tool holds it; another one's reservation is left alone."""
        held = await self._names.find(name)
        if held.reservation is not None and held.reservation.tool == tool:
            await self._names.free(name, held.revision)
