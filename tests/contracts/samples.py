"""One whole message of every kind, with values that are hard to carry."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from libs.contracts import engines, letters, logs, operations, queries, tasks, tools
from libs.contracts.envelope import Message
from libs.contracts.manifest import ResolvedManifest
from libs.contracts.principals import Principal
from libs.contracts.problems import Problem
from libs.contracts.releases import Release, Source

NOW = datetime(2026, 11, 21, 9, 8, 7, 654321, tzinfo=UTC)
OPERATION = "op-" + "a2" * 13
TOOL = "lathe-7-abc234"
HARD = "ünï — 中文 \N{PILE OF POO} \u2028 \x00\x1b[31m \"'\\ {}* > . \r\n"
ADMIN = Principal(kind="user", name=HARD, role="admin")
PROBLEM = Problem(code="build_failed", message=HARD, detail={"log": [HARD, None], "n": 1.5, "deep": {"a": [{}]}})
SOURCE = Source(git_url="https://git.example.org/a.git?x=y#z", ref=HARD, subdir="a b/ü")
RELEASE = Release(
    id="a234567bcdef",
    commit="0" * 40,
    version=HARD,
    bundle="b.1",
    manifest=ResolvedManifest(
        name=HARD,
        version="1",
        manifest_file="machete.yml",
        environment={"A": HARD, "": ""},
        config={"none": None, "list": [None, {"a": None}], HARD: 1e-300},
    ),
)
STATE = tools.Tool(
    id=TOOL,
    name="lathe-7",
    kind="container",
    state=tools.ToolState.RUNNING,
    desired="running",
    reason=HARD,
    since=NOW,
    source=SOURCE,
    release=RELEASE,
    port=65535,
    urls=("http://127.0.0.1:1", HARD),
    services=(tools.ServiceStatus(name=HARD, state="exited", exit_code=-1),),
    installed_at=NOW,
    repairs=tools.Repairs(tries=3, undone=1, last=NOW, problem=HARD, left=True),
)
ABOUT: dict[str, Any] = {"operation": OPERATION, "tool": TOOL}
COMMAND: dict[str, Any] = {**ABOUT, "tool_name": "lathe-7", "requested_by": ADMIN, "digest": HARD}
ENDED: dict[str, Any] = {**ABOUT, "fence": 2**53, "effect": "changed", "state": STATE, "ended_at": NOW}
TASK: dict[str, Any] = {**ABOUT, "fence": 1, "deadline": NOW}

SAMPLES: tuple[Message, ...] = (
    tools.InstallTool(**COMMAND, source=SOURCE, start=True),
    tools.BuildTool(**COMMAND),
    tools.StartTool(**COMMAND, repair=tools.Repair(judged_by=2**53, tries=3, undone=1)),
    tools.StopTool(**COMMAND, now=True),
    tools.RestartTool(**COMMAND),
    tools.UninstallTool(**COMMAND, now=True, data=True),
    tools.ToolRecorded(tool=TOOL, fence=1, operation=OPERATION, state=STATE),
    operations.OperationAccepted(
        **ABOUT, kind="install", tool_name="lathe-7", requested_by=ADMIN, digest=HARD, created_at=NOW, source=SOURCE
    ),
    operations.OperationStarted(**ABOUT, worker=HARD, attempt=1, delivery=3, started_at=NOW, deadline=NOW),
    operations.CancelRequested(**ABOUT, requested_by=ADMIN),
    operations.OperationSucceeded(**ENDED),
    operations.OperationFailed(**ENDED, error=PROBLEM),
    operations.OperationCancelled(**ENDED, error=PROBLEM),
    operations.StepStarted(**ABOUT, fence=1, step="fetch", started_at=NOW),
    operations.StepEnded(**ABOUT, fence=1, step="build", state="cancelled", ended_at=NOW),
    tasks.BuildRelease(**TASK, subject_tool=STATE),
    tasks.StartRelease(**TASK, subject_tool=STATE),
    tasks.DiscardTool(**TASK),
    tasks.TaskEnded(**ABOUT, fence=1, what=HARD, outcome="failed", state=STATE, error=PROBLEM, ended_at=NOW),
    engines.ToolObserved(
        tool=TOOL,
        state=tools.ToolState.DEGRADED,
        reason=HARD,
        services=STATE.services,
        action=HARD,
        by_hand=(HARD,),
        observed_at=NOW,
    ),
    engines.EngineConnected(engine="local", version=HARD, observed_at=NOW),
    engines.EngineLost(engine="local", reason=HARD, observed_at=NOW),
    logs.LogChunk(tool=TOOL, source="web", first=2**53, lines=(logs.LogLine(time=NOW, text=HARD),), mark=HARD),
    letters.DeadLetter(
        stream="COMMANDS",
        tool="unknown",
        subject_was=HARD,
        sequence=1,
        deliveries=1,
        reason=HARD,
        operation=OPERATION,
        payload=HARD,
        given_up_at=NOW,
    ),
    queries.ListTools(limit=500, after=HARD, position=2**53),
    queries.ShowTool(tool=HARD[:20], position=1),
    queries.DescribeTools(tool="lathe-7", after=HARD),
    queries.ReadLastLines(tool="lathe-7", lines=7, position=1),
    queries.ListOperations(tool=HARD[:20], state=HARD, limit=1, after=HARD, position=1),
    queries.ShowOperation(operation=HARD[:20], wait=59.9, position=1),
    queries.RebuildTables(requested_by=ADMIN),
    queries.ShowRebuild(rebuild=HARD[:20]),
    queries.AuthenticateToken(token=HARD),
)
