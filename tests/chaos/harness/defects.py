"""Services with a known defect put back: `python -m tests.chaos.harness.defects no-fence orchestrator`.

Each one breaks what the platform rests on, in this process alone, so that a run can show that the harness finds it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from libs.contracts.names import new_operation_id, random_word
from libs.contracts.operations import OperationEnded, Recorded
from libs.contracts.streams import COMMANDS, EVENTS
from libs.contracts.tools import ToolCommand
from libs.runtime.bus.connection import Bus, Stored
from libs.runtime.bus.decide import Move
from libs.runtime.bus.delivery import Delivery
from libs.runtime.bus.records import Entry, Record, Records
from libs.runtime.bus.worker import Worker


def no_fence() -> None:
    """The end is appended whoever has begun the operation since."""
    expecting = Records.append

    async def append(self: Records, record: Record, event: Recorded, *, causation: str | None = None) -> Record:
        if not isinstance(event, OperationEnded):
            return await expecting(self, record, event, causation=causation)
        bus: Bus = self._bus  # pyright: ignore[reportPrivateUsage]
        stored = await bus.publish(EVENTS, event, correlation=event.operation)
        return Record((*record.entries, Entry(stored.sequence, event, "")))

    Records.append = append


def ack_before_result() -> None:
    """A command is off the queue as soon as it is somebody's turn to carry it out."""
    working: Any = Worker._work  # pyright: ignore[reportPrivateUsage]

    async def work(self: Worker, command: ToolCommand, record: Record, delivery: Delivery, move: Move) -> Record | None:
        await delivery.ack()
        return await working(self, command, record, delivery, move)

    Worker._work = work  # pyright: ignore[reportPrivateUsage]


def message_id_only() -> None:
    """A repeated request is known by the id of its message alone, for as long as JetStream remembers that."""
    from services.gateway.domain.requests import Request
    from services.gateway.handlers import Gateway

    async def unknown(self: Gateway, operation: str) -> Record | None:
        return None

    async def store(self: Gateway, request: Request, command: ToolCommand) -> Stored:
        key = request.key or random_word(26)
        return await self._bus.publish(COMMANDS, command, id=key)  # pyright: ignore[reportPrivateUsage]

    Request.operation = property(_once)  # pyright: ignore
    Gateway._find = unknown  # pyright: ignore[reportPrivateUsage]
    Gateway._store = store  # pyright: ignore[reportPrivateUsage]


def _once(request: Any) -> str:
    return request.__dict__.setdefault("operation drawn", new_operation_id(request.by.label, None))


DEFECTS: Mapping[str, Callable[[], None]] = MappingProxyType(
    {"no-fence": no_fence, "ack-before-result": ack_before_result, "message-id-only": message_id_only}
)

if __name__ == "__main__":
    from services.__main__ import main

    DEFECTS[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
