"""Services with a known defect put back, in this process alone: what the harness must find.

common="--seed 4 --tools 12 --most 24 --commands 120 --patience 25 --settling 5"
python -m tests.chaos.harness $common --faults 6 --faults-of pause:orchestrator,cut:orchestrator --defect no-fence
python -m tests.chaos.harness $common --faults 8 --faults-of kill --defect ack-before-result
python -m tests.chaos.harness $common --faults 8 --faults-of nats-killed,kill --defect message-id-only
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
from libs.runtime.bus import operation, watch, worker
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.decide import Move, Standing
from libs.runtime.bus.delivery import Delivery
from libs.runtime.bus.records import Entry, Record, Records
from libs.runtime.bus.stored import Stored
from libs.runtime.bus.worker import Worker


def no_fence() -> None:
    """The end is appended whoever has begun the operation since, and nobody looks whether somebody may have.

    Without the expected sequence alone nothing goes wrong that often: the looks at record and clock come first.
    """
    expecting = Records.append

    async def append(self: Records, record: Record, event: Recorded, *, causation: str | None = None) -> Record:
        if not isinstance(event, OperationEnded):
            return await expecting(self, record, event, causation=causation)
        bus: Bus = self._bus  # pyright: ignore[reportPrivateUsage]
        stored = await bus.publish(EVENTS, event, correlation=event.operation)
        return Record((*record.entries, Entry(stored.sequence, event, "")))

    def standing(record: Record, fence: int) -> Standing:
        return Standing.CANCELLED if record.cancel is not None else Standing.OWNER

    def never(self: Delivery) -> bool:
        return False

    Records.append = append
    Delivery.lapsed = never
    for module in (operation, watch, worker):
        if hasattr(module, "standing"):
            setattr(module, "standing", standing)  # noqa: B010


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
