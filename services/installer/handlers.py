"""What the installer does when a command arrives: it owns an install from its first step to its last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from libs.contracts.problems import Failure
from libs.contracts.releases import Release, release_id
from libs.contracts.tasks import BuildRelease, DiscardTool, StartRelease
from libs.contracts.tools import InstallTool, Tool, ToolState
from libs.runtime.bus.operation import Changed, Effect, Operation, Removed
from libs.runtime.bus.states import States
from services.installer.ports import Bundles, Sources


@dataclass(frozen=True)
class Install:
    """Fetching is done here; building and starting are asked of the orchestrator, inside the same operation."""

    states: States
    sources: Sources
    bundles: Bundles

    async def act(self, command: InstallTool, operation: Operation) -> Effect:
        """Safe to repeat: the same commit gives the same release, and what is built is found built."""
        if not await self.states.holds_name(command):
            raise Failure("name_taken", f"The name {command.tool_name} went to another tool meanwhile; choose another.")
        async with operation.step("fetch"):
            release = await self._fetch(command, operation)
        built = await operation.ask(BuildRelease, subject_tool=_pending(command, release))
        if built is None:
            raise Failure("internal_error", "The build ended without a tool to show for it.")
        if command.start:
            built = await operation.ask(StartRelease, subject_tool=built) or built
        return Changed(built)

    async def recover(self, command: InstallTool, operation: Operation) -> Effect:
        """Nothing stays of a failed or cancelled install; what was built and only did not start stays installed."""
        await operation.tasks_settled()
        if operation.problem is not None and await operation.begun("start"):
            built = await operation.result_of(BuildRelease)
            if built is not None:
                return Changed(_broken(built, operation.problem.message))
        if await operation.begun("build"):
            await operation.ask(DiscardTool)
        return Removed()

    async def _fetch(self, command: InstallTool, operation: Operation) -> Release:
        source = command.source
        async with self.sources.fetch(
            source.git_url, source.ref, source.subdir, log=operation.say, alive=operation.alive
        ) as checkout:
            manifest = checkout.manifest
            await operation.guard()
            bundle = await self.bundles.put(checkout.bundle, checkout.digest, operation.fence)
        return Release(
            id=release_id(checkout.commit, source.subdir, manifest),
            commit=checkout.commit,
            version=manifest.version,
            bundle=bundle,
            subdir=source.subdir,
            manifest=manifest,
        )


def _pending(command: InstallTool, release: Release) -> Tool:
    now = datetime.now(UTC)
    return Tool(
        id=command.tool,
        name=command.tool_name,
        kind=release.manifest.kind,
        state=ToolState.PENDING,
        since=now,
        source=command.source,
        release=release,
        installed_at=now,
    )


def _broken(tool: Tool, reason: str) -> Tool:
    return tool.model_copy(
        update={"state": ToolState.FAILED, "desired": "stopped", "reason": reason, "since": datetime.now(UTC)}
    )
