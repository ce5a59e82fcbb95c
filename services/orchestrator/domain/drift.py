"""Is a tool that should run short of something, and when is it started again? Decided from facts; nothing here acts.

What a process does that ends by itself is the engine's part (`container_body.engine_restart`): whatever the engine
is starting again is left to it here, so that no two start the same thing.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from libs.contracts.tools import Repairs, Tool, ToolState
from services.orchestrator.domain.observations import Observation, ServiceObservation
from services.orchestrator.domain.plan import as_seen, whole

Cause = Literal["gone", "ended", "cut_off", "not_ready"]

AT_WORK = ("paused", "removing")
DOWN = ("missing", "created", "exited", "dead")


@dataclass(frozen=True)
class Backoff:
    """Seconds. After the first try the next one waits `first`, then twice as long each time, `most` at the longest.

    A tool that has stayed up for `settled` begins anew. A container that is gone tells nobody how long it ran: of that
    one it is taken for granted once a pause has passed besides.
    """

    first: float = 10.0
    most: float = 1800.0
    settled: float = 600.0

    def pause(self, tries: int, jitter: float) -> float:
        """After so many tries. `jitter`, from 0 to 1, takes up to a fifth away: what fell at once rises apart."""
        if tries == 0:
            return 0.0
        return min(self.most, self.first * 2.0 ** min(tries - 1, 60)) * (1 - jitter / 5)


@dataclass(frozen=True)
class Drift:
    """A tool is not as it should be. `due` is when it is to be started again; None: it is left to somebody.

    `why` is what there is to say beside its state, `tries` and `undone` what counted so far; with `over`, it has ended
    as its manifest lets it.
    """

    cause: Cause
    due: datetime | None
    why: str = ""
    tries: int = 0
    undone: int = 0
    over: bool = False


def drift(tool: Tool, seen: Observation, by_hand: Collection[str], backoff: Backoff) -> Drift | None:
    """None: it is as it should be, or somebody is at work on it. `by_hand` are containers that somebody ended."""
    services = whole(tool, seen.services)
    if tool.desired != "running" or is_at_work(seen):
        return None
    down = [each for each in services if (each.state in DOWN or each.cut_off) and not each.job]
    repairs = _counted(tool.repairs, down, seen.observed_at, backoff)
    cause = _cause(services, down, repairs)
    if cause is None:
        return None
    if repairs is not None and repairs.left:
        return Drift(cause, None, "Starting it again was cancelled, so it is left so: start it again, or stop it.")
    ids = {each.container_id for each in seen.services}
    stopped = [each for each in down if each.container_id and each.container_id in by_hand]
    removed = cause == "gone" and any(each not in ids for each in by_hand)
    if left := _left(tool, cause, down, stopped, removed, repairs):
        return left
    undone = (repairs.undone if repairs else 0) + bool(stopped or removed)
    return _due(tool, cause, seen.observed_at, undone, repairs, backoff)


def is_at_work(seen: Observation) -> bool:
    """Whether somebody is about something by hand, and will be done with it."""
    return any(each.state in AT_WORK for each in seen.services)


def judged(tool: Tool, seen: Observation, found: Drift | None) -> Tool:
    """The tool as it is shown: with what its containers show, and what becomes of it."""
    failure = tool.reason if tool.state is ToolState.FAILED and tool.desired == "stopped" else None
    shown = as_seen(tool, seen, tool.desired, failure, tool.repairs)
    if found is None:
        return shown
    if found.over:
        state, reason = ToolState.STOPPED, found.why
    else:
        is_up = shown.state in (ToolState.RUNNING, ToolState.STARTING)
        state = ToolState.DEGRADED if is_up else shown.state
        reason = " ".join(said for said in (shown.reason, found.why) if said) or None
    since = tool.since if state is tool.state else seen.observed_at
    return shown.model_copy(update={"state": state, "reason": reason, "since": since})


def _counted(
    repairs: Repairs | None, down: Sequence[ServiceObservation], now: datetime, backoff: Backoff
) -> Repairs | None:
    """Tries do not count any more once a tool has stayed up; what somebody did by hand is not forgotten by that."""
    if repairs is None or repairs.problem is not None or not _stayed_up(repairs, down, now, backoff):
        return repairs
    return repairs.model_copy(update={"tries": 0})


def _stayed_up(repairs: Repairs, down: Sequence[ServiceObservation], now: datetime, backoff: Backoff) -> bool:
    """Since the last start. Time alone does not tell: the pauses come to be as long as what is to be stayed up for."""
    runs = [each.ran_for for each in down if each.ran_for is not None]
    if runs and len(runs) == len(down):
        return min(runs) >= backoff.settled
    since = (now - repairs.last).total_seconds()
    return since >= backoff.settled + backoff.pause(repairs.tries, 0)


def _cause(
    services: Sequence[ServiceObservation], down: Sequence[ServiceObservation], repairs: Repairs | None
) -> Cause | None:
    if not services or any(each.state == "missing" for each in down):
        return "gone"
    if any(each.state in DOWN for each in down):
        return "ended"
    if any(each.is_up for each in down):
        return "cut_off"
    failed = repairs is not None and repairs.problem is not None
    return "not_ready" if failed and not any(each.state == "restarting" for each in services) else None


def _left(
    tool: Tool,
    cause: Cause,
    down: Sequence[ServiceObservation],
    stopped: Sequence[ServiceObservation],
    removed: bool,
    repairs: Repairs | None,
) -> Drift | None:
    """Why nobody starts it again by itself, if nobody does."""
    restart = tool.release.manifest.restart
    words = f"its manifest says `restart: {restart}`"
    if stopped or removed:
        what = f"{'It' if tool.kind == 'container' else _names(stopped or down)} was"
        how = "stopped" if stopped else "removed"
        if repairs is not None and repairs.undone:
            return _to_somebody(cause, f"{what} {how} by hand after it had been started again unasked.")
        if restart == "no" or (stopped and restart != "always"):
            return _to_somebody(cause, f"{what} {how} by hand, outside MACHETE.")
    ended_well = cause == "ended" and all(each.exit_code == 0 and not each.oom for each in down)
    if ended_well and not stopped and restart in ("no", "on-failure"):
        return Drift(cause, None, f"{_names(down)} ended with exit code 0, and {words}.", over=tool.kind == "container")
    if restart == "no":
        return Drift(cause, None, f"It is left so, for {words}: start it again, or stop it.")
    return None


def _to_somebody(cause: Cause, why: str) -> Drift:
    return Drift(cause, None, f"{why} It is left so: start it again, or stop it.")


def _due(tool: Tool, cause: Cause, now: datetime, undone: int, repairs: Repairs | None, backoff: Backoff) -> Drift:
    if repairs is None:
        return Drift(cause, now, undone=undone)
    jitter = hashlib.sha256(f"{tool.id} {repairs.last.isoformat()}".encode()).digest()[0] / 255
    pause = timedelta(seconds=backoff.pause(repairs.tries, jitter))
    # A last one that is far ahead was made before the clock was set back: how long ago, nobody knows any more.
    due = now if repairs.last - now > pause else repairs.last + pause
    said = f"It could not be started again: {repairs.problem.rstrip('.')}." if repairs.problem else ""
    if due > now:
        said = f"{said} Try {repairs.tries + 1} to start it again follows at {due:%H:%M:%S} UTC.".strip()
    return Drift(cause, due, said, repairs.tries, undone)


def _names(services: Sequence[ServiceObservation]) -> str:
    return " and ".join(each.name for each in services)
