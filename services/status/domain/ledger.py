"""All that is known, folded event by event; remembers what changed."""

from __future__ import annotations

from collections.abc import Iterable

from libs.contracts.envelope import Message
from services.status.domain.entries import EngineEntry, OperationEntry, ToolEntry
from services.status.domain.folding import Known, fold


def about(message: Message) -> tuple[str | None, str | None, str | None]:
    """The ids of the tool and the operation, and the name of the engine, that an event speaks of."""
    told = message.__dict__
    return told.get("tool"), told.get("operation"), told.get("engine")


class Ledger:
    """Must hold all entries that the events to come are about, as far as there are any."""

    def __init__(
        self,
        tools: Iterable[ToolEntry] = (),
        operations: Iterable[OperationEntry] = (),
        engines: Iterable[EngineEntry] = (),
    ) -> None:
        self.tools = {entry.id: entry for entry in tools}
        self.operations = {entry.id: entry for entry in operations}
        self.engines = {entry.name: entry for entry in engines}
        self._as_read = (dict(self.tools), dict(self.operations), dict(self.engines))

    def enter(self, sequence: int, message: Message) -> None:
        tool, operation, engine = about(message)
        before = Known(
            tool=self.tools.get(tool) if tool else None,
            operation=self.operations.get(operation) if operation else None,
            engine=self.engines.get(engine) if engine else None,
        )
        after = fold(before, message, sequence)
        if after.tool is not None:
            self.tools[after.tool.id] = after.tool
        if after.operation is not None:
            self.operations[after.operation.id] = after.operation
        if after.engine is not None:
            self.engines[after.engine.name] = after.engine

    @property
    def changed_tools(self) -> list[ToolEntry]:
        return [entry for key, entry in self.tools.items() if self._as_read[0].get(key) is not entry]

    @property
    def changed_operations(self) -> list[OperationEntry]:
        return [entry for key, entry in self.operations.items() if self._as_read[1].get(key) is not entry]

    @property
    def changed_engines(self) -> list[EngineEntry]:
        return [entry for key, entry in self.engines.items() if self._as_read[2].get(key) is not entry]
