"""The commands that wait: heard of as they come and end, and looked up where they are stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from libs.contracts.envelope import Undecodable, decode
from libs.contracts.operations import OperationAccepted, OperationEnded, Recorded
from libs.contracts.streams import COMMANDS
from libs.contracts.subjects import COMMAND, RECORD, BadSubject, lane
from libs.contracts.tools import ToolCommand
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.lanes import readable
from libs.runtime.bus.reader import count_by_subject

log = structlog.get_logger(__name__)

_ENDS = tuple(f'"{kind.type}"'.encode() for kind in OperationEnded.__subclasses__())


@dataclass(frozen=True)
class WaitingCommands:
    bus: Bus

    def heard(
        self,
        accepted: Callable[[OperationAccepted], None],
        ended: Callable[[str], None],
        known: Callable[[str], bool],
    ) -> AbstractAsyncContextManager[None]:
        """Says what is accepted and what ends (by operation), at most once each: a hint, like all that is heard.

        Of an operation that is `known` only the end is told, so that most messages need not be read.
        """

        def hear(message: Msg) -> None:
            event = _event(message, known)
            if isinstance(event, OperationAccepted):
                accepted(event)
            elif isinstance(event, OperationEnded):
                ended(event.operation)

        return self.bus.listening(RECORD.filter(), hear)

    async def stored(self, tool: str | None = None) -> Counter[str]:
        """How many commands of each tool, or of this one, the stream holds. Raises `Unavailable`."""
        found: Counter[str] = Counter()
        try:
            counts = await count_by_subject(self.bus, COMMANDS, ">" if tool is None else lane(tool))
        except NatsError as problem:
            raise Unavailable(f"the queue of commands cannot be looked at: {problem!r}") from problem
        for subject, count in counts.items():
            if (named := _tool_of(subject)) is not None:
                found[named] += count
        return found

    async def of(self, tool: str) -> list[ToolCommand]:
        """Those of one tool, the oldest first."""
        kept = [readable(each) async for each in self.bus.each(COMMANDS, lane(tool))]
        return [command for command in kept if command is not None]


def _event(message: Msg, known: Callable[[str], bool]) -> Recorded | None:
    try:
        operation = RECORD.parse(message.subject)["operation"]
        if known(operation) and not any(word in message.data for word in _ENDS):
            return None
        event = decode(message.data, message.subject).data
    except (BadSubject, Undecodable) as problem:
        log.debug("passed over", subject=message.subject, problem=str(problem))
        return None
    return event if isinstance(event, Recorded) else None


def _tool_of(subject: str) -> str | None:
    """None for what stands where a tool's name belongs and cannot be one: it is on its way to the dead letters."""
    form = next((form for form in COMMAND.values() if form.takes(subject)), None)
    return form.parse(subject)["tool"] if form is not None else None
