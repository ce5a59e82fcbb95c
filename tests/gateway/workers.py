"""The other side of what a gateway accepts: real workers, as the real users, whose work is done in an instant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from libs.contracts.operations import OperationEnded
from libs.contracts.problems import Failure
from libs.contracts.streams import COMMANDS
from libs.contracts.tools import (
    BuildTool,
    InstallTool,
    RestartTool,
    StartTool,
    StopTool,
    ToolCommand,
    ToolState,
    UninstallTool,
)
from libs.runtime.bus.operation import Changed, Effect, Operation, Removed
from libs.runtime.bus.states import States
from libs.runtime.bus.timing import Timing
from libs.runtime.bus.worker import Worker
from tests.bus.sketch import tool
from tests.gateway.ledger import Ledger
from tests.support.stage import Stage, eventually

TIMING = Timing(poll=0.1, retry=0.1)
CHANGES: tuple[type[ToolCommand], ...] = (BuildTool, StartTool, StopTool, RestartTool, UninstallTool)


@dataclass
class Works:
    """`done`: the operations whose work was begun, in order. What is begun while `gate` is closed waits for it."""

    ledger: Ledger
    done: list[str] = field(default_factory=list[str])
    fails: set[str] = field(default_factory=set[str])
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def act(self, command: ToolCommand, operation: Operation) -> Effect:
        """Fails for the names in `fails`."""
        if isinstance(command, InstallTool):
            if not await States(operation.bus).holds_name(command):
                raise Failure("name_taken", f"The name {command.tool_name} went to another tool meanwhile.")
        elif operation.before is None:
            raise Failure("tool_gone", f"{command.tool_name} is not installed any more.")
        self.done.append(operation.id)
        await self.gate.wait()
        if command.tool_name in self.fails:
            raise Failure("told_to", "It was told to fail.")
        if isinstance(command, UninstallTool):
            return Removed()
        running = isinstance(command, StartTool | RestartTool)
        return Changed(tool(command.tool, command.tool_name, ToolState.RUNNING if running else ToolState.STOPPED))

    async def recover(self, command: ToolCommand, operation: Operation) -> Effect:
        return Removed() if operation.before is None else Changed(operation.before)

    async def ended(self, *operations: str) -> list[OperationEnded]:
        """How they ended, once all of them have and are off the queue."""
        return [await self._ended(operation) for operation in operations]

    async def _ended(self, operation: str) -> OperationEnded:
        async def settled() -> bool:
            return bool(await self.ledger.record(operation)) and not await self.ledger.commands(operation)

        await eventually(settled, f"{operation} has ended")
        (ended,) = [each for each in await self.ledger.record(operation) if isinstance(each, OperationEnded)]
        return ended


@asynccontextmanager
async def working(stage: Stage) -> AsyncGenerator[Works]:
    works = Works(Ledger(stage))
    installer, orchestrator = COMMANDS.consumers
    async with (
        stage.connected("installer") as one,
        stage.connected("orchestrator") as other,
        asyncio.TaskGroup() as group,
    ):
        running = [
            group.create_task(Worker(one, installer, {InstallTool: works}, TIMING).run()),
            group.create_task(Worker(other, orchestrator, dict.fromkeys(CHANGES, works), TIMING).run()),
        ]
        yield works
        works.gate.set()
        for task in running:
            task.cancel()
