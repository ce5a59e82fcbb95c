"""What should run against what does: drift is repaired by ordinary commands, in the tool's own lane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from libs.contracts.names import new_operation_id
from libs.contracts.principals import Principal
from libs.contracts.streams import COMMANDS
from libs.contracts.subjects import lane
from libs.contracts.tools import StartTool, Tool
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.states import States
from services.orchestrator.domain.observations import Observation
from services.orchestrator.ports import Containers

log = structlog.get_logger(__name__)

SELF = Principal(kind="service", name="orchestrator", role="operator")


@dataclass(frozen=True)
class Reconciler:
    bus: Bus
    states: States
    containers: Containers

    async def reconcile(self, seen: Mapping[str, Observation]) -> None:
        """After each connection to the engine, with all that it runs.

        A tool that should run and does not is started. Containers of a tool that is known to be gone are
        removed; those of a tool nobody knows are left alone: its install may be under way, or the streams lost.
        """
        for recorded in await self.states.all():
            observation = seen.get(recorded.tool)
            if recorded.state is None:
                if observation is not None and observation.services:
                    log.warning("removing what an uninstalled tool left", tool=recorded.tool)
                    await self.containers.remove(recorded.tool, images=True, data=False)
            elif recorded.state.desired == "running" and not _runs(observation):
                await self._start(recorded.state, recorded.fence)

    async def _start(self, tool: Tool, fence: int) -> None:
        if await self.bus.next(COMMANDS, lane(tool.id), 1) is not None:
            return
        log.warning("starting a tool that should run", tool=tool.id)
        operation = new_operation_id(SELF.label, f"reconcile.{tool.id}.{fence}.{self.bus.source}")
        command = StartTool(
            tool=tool.id, tool_name=tool.name, operation=operation, requested_by=SELF, digest="reconcile"
        )
        await self.bus.publish(COMMANDS, command, id=operation)


def _runs(observation: Observation | None) -> bool:
    return observation is not None and any(
        service.state in ("running", "restarting", "paused") for service in observation.services
    )
