"""A start that nobody asked for: it begins only while what it was decided on holds, and is counted."""

from __future__ import annotations

from datetime import UTC, datetime

from libs.contracts.problems import Failure, Problem
from libs.contracts.tools import Repair, Repairs, Tool, ToolState
from libs.runtime.bus.operation import Changed, Effect, Operation, Untouched
from libs.runtime.bus.states import States
from services.orchestrator.domain.plan import as_seen
from services.orchestrator.ports import Containers


async def is_out_of_date(repair: Repair | None, operation: Operation) -> bool:
    """Whether something was done to the tool since the start was decided on: somebody may want it otherwise now."""
    if repair is None:
        return False
    _, fence = await States(operation.bus).judged(operation.tool)
    if fence == repair.judged_by:
        return False
    await operation.say("The tool was changed since this was decided on: nothing is done.")
    return True


def counted(tool: Tool, repair: Repair | None, problem: Problem | None = None, *, left: bool = False) -> Tool:
    """With what the repairs come to now; none where somebody asked for it."""
    if repair is None:
        return tool
    said = problem.message if problem is not None else None
    repairs = Repairs(tries=repair.tries, undone=repair.undone, last=datetime.now(UTC), problem=said, left=left)
    return tool.model_copy(update={"repairs": repairs})


async def as_it_stands(containers: Containers, repair: Repair, operation: Operation) -> Effect:
    """After one that failed or was cancelled: nothing is stopped, and the tool is wanted as before.

    What runs of it serves somebody, and what came up but is not ready may yet be. A cancel is somebody's word that it
    is to be left.
    """
    tool = operation.before
    if tool is None or await is_out_of_date(repair, operation):
        return Untouched()
    try:
        seen = as_seen(tool, await containers.observe(tool.id), tool.desired)
    except Failure as failure:
        about = {"state": ToolState.UNKNOWN, "reason": failure.message, "since": datetime.now(UTC)}
        seen = tool.model_copy(update=about)
    return Changed(counted(seen, repair, operation.problem, left=operation.problem is None))
