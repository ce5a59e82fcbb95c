"""What happened to tools that never were: events as the platform tells them, for cases that need many.

As a program, `python -m bench.histories URL USER TOOLS EACH` tells the lives of so many tools as fast as it can.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from libs.contracts.engines import ToolObserved
from libs.contracts.envelope import Message
from libs.contracts.manifest import ResolvedManifest
from libs.contracts.names import new_operation_id, tool_id
from libs.contracts.operations import OperationAccepted, OperationStarted, OperationSucceeded, StepEnded, StepStarted
from libs.contracts.principals import Principal
from libs.contracts.releases import Release, Source, release_id
from libs.contracts.streams import EVENTS
from libs.contracts.tools import ServiceStatus, Tool, ToolState
from libs.runtime.bus.connecting import connect
from libs.runtime.bus.connection import Bus

AT_ONCE = 128
PASSWORD = "BENCH_PASSWORD"
BY = Principal(kind="user", name="bench", role="admin")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def tool(name: str) -> Tool:
    manifest = ResolvedManifest(name=name, version="1.0.0", manifest_file="machete.yml")
    release = Release(
        id=release_id(COMMIT, None, manifest), commit=COMMIT, version="1.0.0", bundle="none", manifest=manifest
    )
    now = datetime.now(UTC)
    return Tool(
        id=tool_id(name, "bench"),
        name=name,
        kind="container",
        state=ToolState.RUNNING,
        desired="running",
        since=now,
        source=Source(git_url=f"https://git.example.org/{name}.git"),
        release=release,
        services=(ServiceStatus(name="main", state="running"),),
        installed_at=now,
    )


def operation(tool: Tool, turn: int, fence: int) -> list[Message]:
    """An install the first time, a restart after that."""
    now = datetime.now(UTC)
    about: dict[str, Any] = {"operation": new_operation_id(tool.id, str(turn)), "tool": tool.id}
    step: dict[str, Any] = {**about, "fence": fence, "step": "start"}
    return [
        OperationAccepted(
            **about,
            kind="restart" if turn else "install",
            tool_name=tool.name,
            requested_by=BY,
            digest="bench",
            created_at=now,
            source=None if turn else tool.source,
        ),
        OperationStarted(**about, worker="bench/1", attempt=1, started_at=now, deadline=now),
        StepStarted(**step, started_at=now),
        StepEnded(**step, state="succeeded", ended_at=now),
        OperationSucceeded(**about, fence=fence, effect="changed", state=tool, ended_at=now),
    ]


def observed(tool: Tool, number: int) -> ToolObserved:
    """Running and degraded in turn."""
    return ToolObserved(
        tool=tool.id,
        state=(ToolState.RUNNING, ToolState.DEGRADED)[number % 2],
        services=tool.services,
        action="health_status",
        judged_by=1 << 40,
        observed_at=datetime.now(UTC),
    )


def lives(tools: Sequence[Tool], each: int) -> list[Message]:
    """So many operations of each; the tools take turns, as they do in life. For a stream that is empty."""
    told: list[Message] = []
    for turn in range(each):
        for one in tools:
            told += operation(one, turn, len(told) + 2)
    return told


async def tell(bus: Bus, events: Sequence[Message]) -> int:
    for start in range(0, len(events), AT_ONCE):
        await asyncio.gather(*(bus.publish(EVENTS, event) for event in events[start : start + AT_ONCE]))
    return len(events)


async def _main(url: str, user: str, tools: str, each: str) -> None:
    told = lives([tool(f"bench-{number}") for number in range(int(tools))], int(each))
    async with connect(url, user=user, password=os.environ[PASSWORD], service=user, source=f"{user}/bench") as bus:
        await tell(bus, told)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
