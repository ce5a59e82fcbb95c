"""What a labourer is told: how to work, and where to stop."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from libs.runtime.bus.timing import Timing

LOST = "an answer is lost"
KILL, PAUSE = signal.SIGKILL, signal.SIGSTOP


@dataclass(frozen=True)
class Job:
    """How the work on one tool goes. Times are seconds.

    `child`: done by a real child process. `fails`: with this code. `breaks`: with an exception nobody
    foresaw. `kills`: takes the whole process with it, also in recovering. `away`: not possible while this file exists.
    `too_late`: a cancel cannot undo it. `tasks`: an install asks another service to build (and start).
    """

    seconds: float = 0.05
    recovery: float = 0.0
    child: bool = False
    fails: str | None = None
    breaks: bool = False
    kills: bool = False
    away: Path | None = None
    too_late: bool = False
    tasks: bool = False


@dataclass(frozen=True)
class Halt:
    """Sends itself this signal at this point, at the first operation of this action that gets there."""

    point: str
    signal: signal.Signals
    action: str | None = None


@dataclass(frozen=True)
class Orders:
    """`loses`: the first acknowledgement of everything it publishes is lost on its way.

    `mute`: none of its heartbeats arrives, and it does not notice.
    """

    url: str
    user: str
    password: str
    name: str
    effects: Path
    output: Path
    timing: Timing
    jobs: Mapping[str, Job] = field(default_factory=dict[str, Job])
    halts: tuple[Halt, ...] = ()
    commands: bool = True
    tasks: bool = True
    loses: bool = False
    mute: bool = False

    def job(self, tool_name: str) -> Job:
        """The one for this tool, for all whose name begins so, or a short one."""
        found = [prefix for prefix in self.jobs if tool_name.startswith(prefix)]
        return self.jobs[max(found, key=len)] if found else Job()
