"""What there is once all is quiet: the state of tools, the engine, each replica's view, and what is left behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

from libs.contracts.streams import COMMANDS, STATES, TASKS
from libs.contracts.subjects import STATE
from libs.contracts.tools import ToolRecorded
from tests.chaos.harness.history import Complaint, Fact, Found, Kept, Left, Shown, ShownOperation
from tests.chaos.harness.stage import Stage
from tests.support.platform import Platform
from tests.support.platform_api import Api, Refusal
from tests.support.platform_engine import LABEL_INSTANCE, LABEL_TOOL
from tests.support.platform_process import belonging_to

# What a service or a supervisor of children is started as; anything else of the platform's is a child.
CATCHING_UP = 60.0  # seconds
OWN = ("-m services", "tests.chaos.harness", "launcher", "nats-server")


async def states(stage: Stage) -> list[Fact]:
    found: list[Fact] = []
    async for kept in stage.platform.bus.each(STATES, STATE.filter()):
        said = kept.open().data
        assert isinstance(said, ToolRecorded), said
        tool = said.state
        wants = tool is not None and tool.desired == "running"
        services = stage.services_of(said.tool)
        found.append(Kept(said.tool, said.fence, tool.state.value if tool else None, wants, services))
    return found


async def engine(platform: Platform) -> list[Fact]:
    return await asyncio.to_thread(_engine, platform)


def _engine(platform: Platform) -> list[Fact]:
    sdk, mine = platform.hand.sdk, {"label": [f"{LABEL_INSTANCE}={platform.instance}", LABEL_TOOL]}
    found: list[Fact] = []
    for each in sdk.containers(all=True, filters=mine):
        running = each["State"] == "running"
        found.append(Found("container", each["Names"][0][1:], each["Labels"][LABEL_TOOL], running))
    found += [Found("network", each["Name"], each["Labels"][LABEL_TOOL]) for each in sdk.networks(filters=mine)]
    volumes = sdk.volumes(filters=mine)["Volumes"] or []
    return [*found, *(Found("volume", each["Name"], each["Labels"][LABEL_TOOL]) for each in volumes)]


async def shown(api: Api, replica: str, position: int) -> list[Fact]:
    """What the one replica that answers shows, as of that position."""
    tools = [each async for each in _pages(api, "tools", position)]
    operations = [each async for each in _pages(api, "operations", position)]
    return [
        *(Shown(replica, each["id"], each["state"], each["desired"] == "running") for each in tools),
        *(ShownOperation(replica, each["id"], each["state"]) for each in operations),
    ]


async def _pages(api: Api, what: str, position: int) -> AsyncGenerator[dict[str, Any]]:
    after: dict[str, str] = {}
    while True:
        page = await _patiently(api, f"/api/v1/{what}", limit=500, position=position, **after)
        for each in page[what]:
            yield each
        if page["next"] is None:
            return
        after = {"after": page["next"]}


async def _patiently(api: Api, path: str, **query: Any) -> Any:
    """A replica that has just begun, or that is still behind, says so for a while."""
    give_up = time.monotonic() + CATCHING_UP
    while True:
        try:
            return await api.get(path, **query)
        except Refusal as refusal:
            if refusal.status != 503 or time.monotonic() > give_up:
                raise
        await asyncio.sleep(0.5)


async def left(stage: Stage) -> list[Fact]:
    """In the queues, among processes and on disk."""
    platform = stage.platform
    found: list[Fact] = []
    async for kept in platform.bus.each(COMMANDS, ">"):
        found.append(Left("command", f"{kept.sequence} {kept.subject}"))
    async for kept in platform.bus.each(TASKS, ">"):
        found.append(Left("task", f"{kept.sequence} {kept.subject}"))
    folders = dict.fromkeys((platform.data, *stage.homes.values()))
    own = {process.pid for process in platform.processes.values() if process.alive}
    for folder in folders:
        children = {pid: words for pid, words in belonging_to(folder).items() if pid not in own}
        found += [Left("process", f"{pid} {words[:200]}") for pid, words in children.items() if not _is_own(words)]
        found += [Left("fetch", str(each)) for each in (folder / "fetches").glob("fetch-*")]
    return found


def _is_own(words: str) -> bool:
    return any(part in words for part in OWN)


def complaints(platform: Platform) -> list[Fact]:
    """Each exception that a service logged, by its last line, once a process."""
    found: dict[tuple[str, str], Fact] = {}
    for name, process in platform.processes.items():
        for said in process.lines(in_all_lives=True):
            if "exception" in said:
                last = str(said["exception"]).strip().splitlines()[-1][:300]
                text = f"{said.get('event')}: {last}"
                found.setdefault((name, text), Complaint(name, text))
    return list(found.values())
