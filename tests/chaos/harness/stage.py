"""The platform that is mistreated: replicas of every service, each with a line of its own to NATS, and the engine."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nats.js import api

from libs.contracts.streams import COMMANDS, MIB, Stream
from tests.chaos.harness.disks import small_disk
from tests.chaos.harness.doors import Door, robot
from tests.chaos.harness.lines import Line, line
from tests.support.platform import SERVICES, Platform, split_platform
from tests.support.platform_api import Api
from tests.support.platform_process import Process
from tests.support.platform_proxy import EngineProxy
from tests.support.platform_tools import Files
from tests.support.postgres import Databases, running_databases

# Seconds. Long enough that a process on a busy machine is not taken for dead, short enough to wait for.
ACK_WAIT = 5.0
TIMES = {
    "MACHETE_ACK_WAIT": str(ACK_WAIT),
    "MACHETE_HEARTBEAT": "1",
    "MACHETE_WATCHDOG_BOUND": "3",
    "MACHETE_LOOK_INTERVAL": "10",
}
# A repetition that comes later than this is not known to JetStream any more: the platform itself has to know it.
FORGETFUL = 2.0
SEEN = Stream(name="HARNESS", subjects=("harness.>",), max_bytes=256 * MIB)
# Of these, the last replica keeps its files on a small disk of its own.
ON_SMALL_DISKS = ("installer", "status")
DATA_DISK, NATS_DISK = 256 * MIB, 1024 * MIB
ENDURED_STARTS = 8


@dataclass
class Stage:
    """`tools` are URLs of what is installed, with how many containers each is.

    `homes` are the data folders of processes that have one of their own; `lines` to NATS, by process.

    `doors` are where clients ask, one list of them for each kind of client: the gateways, and an agent's over NATS.

    Without `databases`, each process has its own in a file.
    """

    platform: Platform
    engine: EngineProxy
    tools: Sequence[tuple[str, int]]
    lines: dict[str, Line] = field(default_factory=dict[str, Line])
    homes: dict[str, Path] = field(default_factory=dict[str, Path])
    apis: list[Api] = field(default_factory=list[Api])
    doors: list[Sequence[Door]] = field(default_factory=list[Sequence[Door]])
    databases: Databases | None = None
    restarts: int = 0

    async def bring_up(self, process: Process) -> None:
        """As a supervisor does: one that ends while it starts (NATS may be away) is started again."""
        for _ in range(ENDURED_STARTS):
            process.launch()
            try:
                await process.ready()
                return
            except AssertionError:
                if process.alive:
                    raise
            self.restarts += 1
            await asyncio.sleep(0.5)
        raise AssertionError(f"{process.name} does not start: {process.said()[-3000:]}")

    def url_of(self, name: str) -> str:
        return self._tool(name)[0]

    def services_of(self, tool: str) -> int:
        """Of a tool by its id."""
        return self._tool(tool.rpartition("-")[0])[1]

    def _tool(self, name: str) -> tuple[str, int]:
        """Under one name always the same."""
        return self.tools[sum(name.encode()) % len(self.tools)]

    def status_database(self, name: str) -> Path:
        return self.homes.get(name, self.platform.data) / "status" / "status.db"


@asynccontextmanager
async def staged(
    folder: Path,
    replicas: Mapping[str, int],
    program: tuple[str, ...] = ("services",),
    *,
    small_disks: bool = False,
    postgres: bool = False,
) -> AsyncGenerator[Stage]:
    """All of it running. `small_disks` needs root; with `postgres`, databases are a server's."""
    async with AsyncExitStack() as stack:
        homes = {
            f"{service}-{replicas[service]}" if replicas[service] > 1 else service: service
            for service in ON_SMALL_DISKS
            if replicas[service] > 1 or small_disks
        }
        places = {
            name: stack.enter_context(small_disk(folder / "disks" / name)) if small_disks else folder / "disks" / name
            for name in homes
        }
        # Those of all that have none of their own, and of the NATS server: room for what a long run keeps.
        data, streams = folder / "data", folder / "nats"
        if small_disks:
            stack.enter_context(small_disk(data, DATA_DISK))
            stack.enter_context(small_disk(streams, NATS_DISK))
            places["data"] = data
        proxy = await stack.enter_async_context(EngineProxy(_made(folder) / "engine.sock"))
        databases = stack.enter_context(running_databases()) if postgres else None
        environment = {"DOCKER_HOST": proxy.address, **TIMES, **(databases.environment if databases else {})}
        platform = await stack.enter_async_context(
            split_platform(
                folder, environment=environment, streams=streams if small_disks else None, **dict.fromkeys(SERVICES, 0)
            )
        )
        platform.program = program
        await _watch_commands(platform)
        forge = platform.forge
        singles = (forge.tool("quick", small()), 1), (forge.tool("slow", small("sleep 0.7; ")), 1)
        # One name of five is a stack, which takes several times as long.
        tools = (*singles, *singles, (forge.tool("stack", small_stack()), 2))
        stage = Stage(platform, proxy, tools, homes=places, databases=databases or platform.databases)
        for service in SERVICES:
            for _ in range(replicas[service]):
                await _add(stack, stage, service)
        await platform.start()
        for gateway in platform.replicas("gateway"):
            one = await stack.enter_async_context(platform.api_of(gateway.name))
            one.client.timeout = 2 * ACK_WAIT
            stage.apis.append(one)
        platform.api = stage.apis[0]
        agent = await stack.enter_async_context(robot(platform, platform.nats_url, folder))
        stage.doors += [stage.apis, [agent] * len(stage.apis)]
        yield stage


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def _add(stack: AsyncExitStack, stage: Stage, service: str) -> None:
    platform = stage.platform
    assert platform.nats is not None
    to_nats = await stack.enter_async_context(line(platform.nats.port))
    name = service if not platform.replicas(service) else f"{service}-{len(platform.replicas(service)) + 1}"
    own: dict[str, str] = {}
    if name in stage.homes:
        stage.homes[name].mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copytree(platform.data / "nats", stage.homes[name] / "nats")
        own["MACHETE_DATA"] = str(stage.homes[name])
    process = platform.add(service, MACHETE_NATS_URL=to_nats.url, **own)
    assert process.name == name
    stage.lines[name] = to_nats


async def _watch_commands(platform: Platform) -> None:
    """Each command that is stored is kept a second time, in a stream that nobody takes from."""
    jetstream = platform.bus.jetstream
    await jetstream.add_stream(api.StreamConfig(name=SEEN.name, subjects=list(SEEN.subjects), max_bytes=SEEN.max_bytes))
    config = (await jetstream.stream_info(COMMANDS.name)).config
    config.republish = api.RePublish(src=">", dest="harness.>")
    config.duplicate_window = FORGETFUL
    await jetstream.update_stream(config)


def small(farewell: str = "") -> Files:
    """A tool that is built from what is there and runs at once; its volume shows whether data is kept or removed.

    `farewell` is what it does when it is asked to stop: what takes its time can be caught in the middle.
    """
    from deploy.setup.images import BUSYBOX

    manifest = '{"version": "1.0.0", "description": "small", "machete": {"volumes": ["kept:/kept"]}}'
    dockerfile = f'FROM {BUSYBOX}\nCMD ["sh", "-c", "trap \'{farewell}exit 0\' TERM; sleep 1000000 & wait $!"]\n'
    return {"Dockerfile": dockerfile.encode(), "machete.yml": manifest.encode()}


def small_stack() -> Files:
    """Two services and a volume, one built and one as it is."""
    from deploy.setup.images import BUSYBOX

    command = ["sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait $!"]
    escaped = [word.replace("$", "$$") for word in command]
    services = {
        "web": {"build": ".", "depends_on": ["store"]},
        "store": {"image": BUSYBOX, "command": escaped, "volumes": ["kept:/kept"]},
    }
    dockerfile = f"FROM {BUSYBOX}\nCMD {json.dumps(command)}\n"
    return {
        "Dockerfile": dockerfile.encode(),
        "compose.yaml": json.dumps({"services": services, "volumes": {"kept": {}}}).encode(),
    }
