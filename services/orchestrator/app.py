"""The orchestrator, wired: the only service that talks to Docker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from libs.contracts.streams import COMMANDS, EVENTS, TASKS
from libs.runtime.bus.log_shares import LogShares
from libs.runtime.bus.quorum import nats_checks
from libs.runtime.bus.session import Session, session
from libs.runtime.bus.states import States
from libs.runtime.bus.tasks import TaskWorker
from libs.runtime.bus.worker import Worker
from libs.runtime.cancellation import lasting
from libs.runtime.children import Children
from libs.runtime.health import Check
from libs.runtime.service import Service
from services.orchestrator.adapters.build_slots import BuildSlots
from services.orchestrator.adapters.builder import BuildxBuilder
from services.orchestrator.adapters.compose import Compose
from services.orchestrator.adapters.containers import DockerContainers
from services.orchestrator.adapters.engine import Engine as DockerEngine
from services.orchestrator.adapters.feed import DockerFeed
from services.orchestrator.adapters.kept_tools import DiskKeptTools
from services.orchestrator.adapters.stacks import DockerStacks
from services.orchestrator.adapters.workshop import DiskWorkshop
from services.orchestrator.adopting import Adopting
from services.orchestrator.domain.drift import Backoff
from services.orchestrator.follower import Follower
from services.orchestrator.handlers import Engine, command_handlers, task_handlers
from services.orchestrator.keeper import Keeper
from services.orchestrator.reconciler import Reconciler
from services.orchestrator.settings import Settings
from services.orchestrator.single import SingleContainers
from services.orchestrator.watcher import Watcher

NAME = "orchestrator"


def build(settings: Settings) -> Service:
    running: list[tuple[Session, Watcher]] = []

    @asynccontextmanager
    async def run() -> AsyncGenerator[None]:
        async with session(settings, NAME) as connected, asyncio.TaskGroup() as group:
            docker = DockerEngine.from_environment()
            tools = settings.data / "tools"
            containers = DockerContainers(docker, connected.instance, tools, settings.network_pool)
            feed = DockerFeed(docker, connected.instance)
            children = Children(bound=settings.watchdog_bound, heartbeat=settings.heartbeat / 2)
            home = settings.data / "buildx"
            workshop = DiskWorkshop(connected.bus, tools, children)
            slots = BuildSlots(docker, settings.data / "slots", settings.watchdog_bound, settings.build_slots)
            engine = Engine(
                runners={
                    "container": SingleContainers(
                        connected.instance,
                        containers,
                        BuildxBuilder(docker, children, home, slot=slots.taken),
                        workshop,
                        settings.build_args,
                    ),
                    "stack": DockerStacks(
                        docker,
                        connected.instance,
                        tools,
                        Compose(docker, children, home, slots.taken),
                        workshop,
                        settings.build_args,
                        settings.network_pool,
                        containers.choosing,
                    ),
                },
                containers=containers,
                workshop=workshop,
                stop_timeout=settings.stop_timeout,
            )
            bus, states = connected.bus, States(connected.bus)
            reconciler = Reconciler(bus, containers, _backoff(settings))
            watcher = Watcher(bus, states, containers, feed, reconciler, interval=settings.look_interval)
            worker = Worker(bus, COMMANDS.consumers[1], command_handlers(engine), connected.timing)
            tasks = TaskWorker(bus, TASKS.consumers[0], task_handlers(engine), connected.timing)
            follower = Follower(bus, containers, feed, watcher.changed)
            kept = DiskKeptTools(tools, connected.instance)
            taking_over = _first(Adopting(bus, states, containers, kept), watcher)
            rest = (worker, tasks, follower, Keeper(bus, kept), LogShares(bus))
            parts = [taking_over, *(each.run() for each in rest)]
            working = [group.create_task(lasting(each)) for each in parts]
            running.append((connected, watcher))
            try:
                yield
            finally:
                running.clear()
                for task in working:
                    task.cancel()

    async def health() -> Sequence[Check]:
        if not running:
            return [Check("nats", False, "not started")]
        connected, watcher = running[0]
        version = watcher.version
        engine = Check(
            "engine",
            version is not None,
            version or "the Docker Engine does not answer; start it, and all goes on by itself",
            critical=False,
        )
        return [*await nats_checks(connected.bus, EVENTS), engine]

    return Service(name=NAME, routes=None, run=run, health=health)


def _backoff(settings: Settings) -> Backoff:
    return Backoff(settings.repair_backoff, settings.repair_backoff_max, settings.repair_settled)


async def _first(adopting: Adopting, watcher: Watcher) -> None:
    """What is taken over must be known before what should run is compared with what does."""
    await adopting.adopt_all()
    await watcher.run()
