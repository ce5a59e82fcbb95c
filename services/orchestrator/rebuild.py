"""Building again what a tool's release is made of, for instance after its image was pruned by hand."""

from __future__ import annotations

from dataclasses import dataclass

from libs.contracts.problems import Failure
from libs.contracts.tasks import BuildRelease
from libs.contracts.tools import BuildTool
from libs.runtime.bus.operation import Away, Changed, Effect, Operation, Untouched
from libs.runtime.bus.tasks import TaskHandler
from services.orchestrator.domain.failures import EngineAway
from services.orchestrator.domain.plan import as_seen
from services.orchestrator.ports import Containers


@dataclass(frozen=True)
class Rebuild:
    """`build` is what builds a release when it is installed: the same source comes to the same image.

    What runs goes on running in the container it has, since the release is the same.
    """

    containers: Containers
    build: TaskHandler

    async def act(self, command: BuildTool, operation: Operation) -> Effect:
        """Safe to repeat: an image of this release that is there is found built."""
        tool = operation.before
        if tool is None:
            raise Failure("tool_gone", f"{command.tool_name} is not installed any more; install it again to build it.")
        task = BuildRelease(
            operation=operation.id,
            tool=tool.id,
            fence=operation.fence,
            deadline=operation.deadline,
            subject_tool=tool,
        )
        async with operation.step("build"):
            built = await self.build.act(task, operation) or tool
        try:
            seen = await self.containers.observe(tool.id)
        except EngineAway as away:
            raise Away(away.message) from away
        # Building sees a tool that is new and stopped: what is wanted of this one is what it was before.
        was = {"state": tool.state, "since": tool.since}
        return Changed(as_seen(built.model_copy(update=was), seen, tool.desired))

    async def recover(self, command: BuildTool, operation: Operation) -> Effect:
        """Nothing of the tool was touched but its stopped container, so all that was known of it still holds."""
        return Untouched()
