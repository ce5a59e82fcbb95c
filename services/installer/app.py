"""The installer, wired: Git and the manifest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from libs.contracts.streams import COMMANDS, EVENTS
from libs.contracts.tools import InstallTool, ToolCommand
from libs.runtime.bus.attempt import Handler
from libs.runtime.bus.quorum import nats_checks
from libs.runtime.bus.session import Session, session
from libs.runtime.bus.states import States
from libs.runtime.bus.worker import Worker
from libs.runtime.cancellation import lasting
from libs.runtime.children import Children
from libs.runtime.health import Check
from libs.runtime.service import Service
from services.installer.adapters.bundles import ObjectStoreBundles
from services.installer.adapters.git import GitOptions, GitSources
from services.installer.adapters.git_access import Credentials
from services.installer.handlers import Install
from services.installer.settings import Settings

NAME = "installer"


def build(settings: Settings) -> Service:
    running: list[Session] = []

    @asynccontextmanager
    async def run() -> AsyncGenerator[None]:
        sources = GitSources(
            Children(bound=settings.watchdog_bound, heartbeat=settings.heartbeat / 2),
            settings.data / "fetches",
            GitOptions(
                settings.git_protocols,
                settings.fetch_timeout,
                settings.fetch_limit,
                credentials=Credentials(settings.key_file, settings.known_hosts_file, settings.git_logins),
            ),
        )
        sources.sweep()
        settings.make_ssh_folder()
        async with session(settings, NAME) as connected, asyncio.TaskGroup() as group:
            states = States(connected.bus)
            bundles = ObjectStoreBundles(connected.bus, states, grace=2 * settings.install_deadline)
            handlers: dict[type[ToolCommand], Handler] = {InstallTool: Install(states, sources, bundles)}
            worker = Worker(connected.bus, COMMANDS.consumers[0], handlers, connected.timing)
            parts = (worker.run(), bundles.sweep_for_ever())
            working = [group.create_task(lasting(each)) for each in parts]
            running.append(connected)
            try:
                yield
            finally:
                running.clear()
                for task in working:
                    task.cancel()

    async def health() -> Sequence[Check]:
        return await nats_checks(running[0].bus, EVENTS) if running else [Check("nats", False, "not started")]

    return Service(name=NAME, routes=None, run=run, health=health)
