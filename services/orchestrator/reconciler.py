"""What should run against what does: drift is repaired by ordinary commands, in the tool's own lane.

Why, and what is left alone, is in docs/adr/0008-desired-and-actual.md.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal, get_args

import structlog

from libs.contracts.engines import ToolObserved
from libs.contracts.names import new_operation_id
from libs.contracts.operations import OperationCancelled, OperationFailed
from libs.contracts.principals import Principal
from libs.contracts.problems import Failure
from libs.contracts.streams import COMMANDS, EVENTS
from libs.contracts.subjects import TOOL_ENGINE, lane
from libs.contracts.tools import Repair, Repairs, StartTool, Tool
from libs.runtime import metrics
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Refused
from libs.runtime.bus.records import Records
from libs.runtime.bus.states import States
from services.orchestrator.domain.drift import Backoff, Cause, Drift, drift, is_at_work, judged
from services.orchestrator.domain.engine_events import EngineEvent
from services.orchestrator.domain.failures import EngineAway
from services.orchestrator.domain.observations import Observation
from services.orchestrator.ports import Containers

log = structlog.get_logger(__name__)

SELF = Principal(kind="service", name="orchestrator", role="operator")
# Nanoseconds within which a signal is the reason for an end: longer than any container may take to stop.
ENDS_WITHIN = 120 * 10**9


@dataclass(frozen=True)
class Judged:
    """A tool as of its record at `fence`, as it is shown, and what it is short of."""

    tool: Tool
    fence: int
    shown: Tool
    drift: Drift | None
    by_hand: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """Starts that were asked for as of one record of a tool and never touched it; the id of the next one.

    `is_known`: that one was asked for too, and is on its way, or has made a newer record.
    """

    in_vain: tuple[OperationFailed | OperationCancelled, ...]
    operation: str
    is_known: bool


@dataclass
class Reconciler:
    """Replicas do the same, and it is done once: the same record gives the same operation.

    `_by_hand` has, for each tool, the containers that somebody ended, and as of which record that was noted;
    `_doubted` has containers that may be somebody's own, `_cleared` those gone tools of which something stays, because
    somebody else uses it.
    """

    bus: Bus
    containers: Containers
    backoff: Backoff = field(default_factory=Backoff)
    _signalled: dict[str, int] = field(default_factory=dict[str, int])
    _ended: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict[str, set[str]](set))
    _doubted: set[str] = field(default_factory=set[str])
    _by_hand: defaultdict[str, dict[str, int]] = field(default_factory=lambda: defaultdict[str, dict[str, int]](dict))
    _cleared: set[str] = field(default_factory=set[str])
    _standing: dict[str, Literal["waiting", "left"]] = field(default_factory=dict[str, Literal["waiting", "left"]])

    def __post_init__(self) -> None:
        for cause in get_args(Cause):
            metrics.repairs.labels(cause)

    def heard(self, event: EngineEvent) -> None:
        """Takes note of what may be somebody's doing; whether it is our own shows when the tool is looked at."""
        container = event.container_id
        if event.doubtful:
            self._doubted.add(container)
        match event.action:
            case "destroy" if event.doubtful:  # nobody can tell any more whose it was
                self._ended[event.tool].discard(container)
                self._doubted.discard(container)
            case "kill":
                self._signalled[container] = event.time
            case "die" if event.time - self._signalled.get(container, -ENDS_WITHIN) < ENDS_WITHIN:
                self._ended[event.tool].add(container)
            case "stop" | "destroy":
                self._ended[event.tool].add(container)
            case "start":
                self._ended[event.tool].discard(container)
                self._by_hand[event.tool].pop(container, None)
            case _:
                return
        if event.action in ("start", "destroy"):
            self._signalled.pop(container, None)

    def lost(self) -> None:
        """The engine is gone: what it told of in the end, and nobody could look at any more, was its own doing.

        It stops its containers as it goes down, and tells of that as of any other stop.
        """
        self._ended.clear()
        self._signalled.clear()
        self._doubted.clear()

    async def judge(self, tool: Tool, fence: int, seen: Observation) -> Judged:
        """What is to be made of a tool as it was seen after its record was read."""
        await self._note(tool, fence, seen)
        by_hand = self._by_hand[tool.id]
        if not by_hand and drift(tool, seen, (), self.backoff) is not None:
            # Known from before this process, or from another one that was looking on when it happened.
            by_hand |= await self._said_by_hand(tool.id)
        if tool.repairs is not None:  # what was noted before the last repair is what that was for
            by_hand = self._by_hand[tool.id] = {each: at for each, at in by_hand.items() if at >= fence}
        found = drift(tool, seen, by_hand, self.backoff)
        if found is not None and found.due is not None:
            tool = _as_tried(tool, (await self._asked(tool.id, fence)).in_vain)
            found = drift(tool, seen, by_hand, self.backoff)
        self._count(tool.id, found)
        if found is None and not is_at_work(seen):
            self._by_hand.pop(tool.id, None)
        return Judged(tool, fence, judged(tool, seen, found), found, tuple(sorted(self._by_hand.get(tool.id, ()))))

    async def _note(self, tool: Tool, fence: int, seen: Observation) -> None:
        """What ended while an operation was at work on the tool was that operation's doing.

        What is still up was seen before it ended, and is for the next look.
        """
        if tool.id not in self._ended:
            return
        up = {service.container_id for service in seen.services if service.is_up}
        ended = self._ended.pop(tool.id) - (self._doubted - {service.container_id for service in seen.services})
        if later := ended & up:
            self._ended[tool.id] |= later
        if ended - up and tool.desired == "running" and not await self._busy(tool.id):
            self._by_hand[tool.id] |= dict.fromkeys(ended - up, fence)

    async def _said_by_hand(self, tool: str) -> dict[str, int]:
        kept = await self.bus.last(EVENTS, TOOL_ENGINE.build({"tool": tool}))
        said = kept.message() if kept is not None else None
        return dict.fromkeys(said.by_hand, said.judged_by) if isinstance(said, ToolObserved) else {}

    async def act(self, it: Judged, seen: Observation) -> None:
        """Asks for a start if one is due and nobody is at work on the tool.

        Once for each record of it, and again where that came to an end which left no newer record.
        """
        due = it.drift.due if it.drift is not None else None
        if it.drift is None or due is None or due > seen.observed_at or await self._busy(it.tool.id):
            return
        # Who was at work as it was looked at has ended since, and his command went only once it was recorded how.
        if (await States(self.bus).judged(it.tool.id))[1] != it.fence:
            return
        asked = await self._asked(it.tool.id, it.fence)
        if asked.is_known:
            return
        operation = asked.operation
        repair = Repair(judged_by=it.fence, tries=it.drift.tries + 1, undone=it.drift.undone)
        command = StartTool(
            tool=it.tool.id,
            tool_name=it.tool.name,
            operation=operation,
            requested_by=SELF,
            digest="repair",
            repair=repair,
        )
        try:
            stored = await self.bus.publish(COMMANDS, command, id=operation)
        except Refused as full:
            log.warning("a tool is not started again for now", tool=it.tool.id, problem=str(full))
            return
        if not stored.duplicate:
            metrics.repairs.labels(it.drift.cause).inc()
            log.warning("starting a tool that should run", tool=it.tool.id, cause=it.drift.cause, attempt=repair.tries)

    async def _asked(self, tool: str, fence: int) -> Asked:
        """Each id follows from the record and from how many came to nothing before: all replicas find the same."""
        in_vain: list[OperationFailed | OperationCancelled] = []
        while True:
            nth = f".{len(in_vain)}" if in_vain else ""
            operation = new_operation_id(SELF.label, f"repair.{tool}.{fence}{nth}")
            record = await Records(self.bus).read(tool, operation)
            if not isinstance(record.ended, OperationFailed | OperationCancelled) or record.ended.effect != "none":
                return Asked(tuple(in_vain), operation, bool(record.entries))
            in_vain.append(record.ended)

    async def clear(self, tool: str) -> None:
        """Removes what is still there of a tool that is known to be gone: what was on its way as it was removed.

        What is there of a tool nobody knows is left alone: its install may be under way, or the streams lost. So is
        what has another name: what was renamed went with the tool, and what it was copied from is gone.
        """
        if tool not in self._cleared:
            log.warning("removing what an uninstalled tool left", tool=tool)
            self._cleared.add(tool)
        try:
            removed = await self.containers.remove(tool, images=True, data=False, renamed=False)
        except EngineAway:
            raise
        except (Failure, TimeoutError) as problem:
            log.warning("it cannot be removed for now", tool=tool, problem=str(problem))
        else:
            if not removed.left:
                self._cleared.discard(tool)

    def forget(self, tool: str) -> None:
        """Of a tool that is gone nothing is known any more."""
        self._ended.pop(tool, None)
        self._by_hand.pop(tool, None)
        self._count(tool, None)

    async def _busy(self, tool: str) -> bool:
        """Whether somebody is at work on the tool, or about to be."""
        return await self.bus.next(COMMANDS, lane(tool), 1) is not None

    def _count(self, tool: str, found: Drift | None) -> None:
        if found is None:
            self._standing.pop(tool, None)
        else:
            self._standing[tool] = "left" if found.due is None else "waiting"
        standings = list(self._standing.values())
        for standing in ("waiting", "left"):
            metrics.drifted.labels(standing).set(standings.count(standing))


def _as_tried(tool: Tool, in_vain: tuple[OperationFailed | OperationCancelled, ...]) -> Tool:
    """With what its record would tell of starts that ended before they touched it."""
    for ended in in_vain:
        cancelled = isinstance(ended, OperationCancelled)
        before = tool.repairs or Repairs(tries=0, last=ended.ended_at)
        about = {"tries": before.tries + 1, "last": ended.ended_at, "problem": ended.error.message, "left": cancelled}
        tool = tool.model_copy(update={"repairs": before.model_copy(update=about)})
    return tool
