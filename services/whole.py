"""All services in one process, over a NATS server of their own: what `machete up` runs.

What is slow to import is imported while the NATS server starts, so that both together take as long as one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from libs.contracts.permissions import permissions
from libs.runtime.cancellation import abandon
from libs.runtime.datalock import DataLock
from libs.runtime.embedded import EmbeddedNats
from libs.runtime.settings import Settings
from libs.runtime.variables import SettingsError
from services.gateway.adapters import token_file

if TYPE_CHECKING:
    from socket import socket

    from libs.runtime.service import Service

PLATFORM = "platform"
SETTLES_WITHIN = 10.0
LOOK_EVERY = 0.02
# Questions go to status while the gateway starts; whatever depends on nothing comes first.
ORDER = ("gateway", "status", "installer", "orchestrator")


@dataclass(frozen=True)
class Running:
    """What there is to say of a platform that is up. `first`: this start made the token."""

    url: str
    data: Path
    nats: str
    nats_version: str
    first: bool


async def run(settings: Settings, ready: Callable[[Running], None]) -> None:
    """Runs until SIGTERM or SIGINT; `ready` is called when all services have started and are well.

    Raises before anything is started: `SettingsError`, `DataHeld` for a folder that another platform holds,
    `BadToken`, `PortTaken`, and whatever keeps the NATS server from starting. Later, `ServiceBroke`.
    """
    settings.make_data_folder()
    with DataLock(settings.data) as lock:
        _, first = token_file.ensure(settings.data)
        from libs.runtime.http.server import address, listen

        with listen(settings.host, settings.port) as listener:
            url = _reachable(settings, address(listener))
            async with AsyncExitStack() as stack:
                nats = EmbeddedNats(settings.data, permissions(), agents=True)
                loading = asyncio.create_task(asyncio.to_thread(_load))
                await stack.enter_async_context(nats)
                await loading
                await _provision(nats, settings)
                services = _assemble(data=settings.data, nats_url=nats.url)
                lock.announce(url)

                async def say() -> None:
                    await _settled(services)
                    ready(Running(url, settings.data, nats.url, nats.version, first))

                await _serve(services, settings, say, listener)


def refuse_other_nats(settings: Settings) -> None:
    """Raises `SettingsError`: a platform that brings its own NATS server would leave another one unused, silently."""
    named = [f"MACHETE_{name.upper()}" for name in ("nats_url", "nats_user", "nats_password")]
    chosen = [name for name in named if name.removeprefix("MACHETE_").lower() in settings.model_fields_set]
    if chosen:
        raise SettingsError(
            f"{' and '.join(chosen)}: `machete up` brings its own NATS server; leave this unset, or run the services "
            "on another server with `python -m services NAME…`"
        )


def _load() -> None:
    from importlib import import_module

    from services import registry

    for name in registry.known():
        import_module(f"services.{name}.app")
    import_module("libs.runtime.bus.provision")


def _assemble(**given: Any) -> list[Service]:
    from services import registry

    rest = [name for name in registry.known() if name not in ORDER]
    return registry.assemble([*ORDER, *rest], **given)


async def _provision(nats: EmbeddedNats, settings: Settings) -> None:
    from libs.runtime import kept_instance
    from libs.runtime.bus.connecting import connect
    from libs.runtime.bus.provision import provision

    password = nats.credentials[PLATFORM]
    async with connect(nats.url, user=PLATFORM, password=password, service=PLATFORM, source=PLATFORM) as bus:
        remembered = kept_instance.remembered(settings.data)
        kept_instance.keep(settings.data, await provision(bus, ack_wait=settings.ack_wait, instance=remembered))


async def _serve(
    services: list[Service], settings: Settings, say: Callable[[], Coroutine[Any, Any, None]], listener: socket
) -> None:
    from libs.runtime.service import serve

    saying: list[asyncio.Task[None]] = []
    try:
        await serve(services, settings, ready=lambda: saying.append(asyncio.create_task(say())), listener=listener)
    finally:
        await abandon(*saying)
    for task in saying:
        if not task.cancelled():
            task.result()


async def _settled(services: list[Service]) -> None:
    """Returns when all are well, which is a moment after they have started; what is not soon, health tells of."""
    for _ in range(int(SETTLES_WITHIN / LOOK_EVERY)):
        checks = [check for each in services for check in await each.health()]
        if all(check.ok or not check.critical for check in checks):
            return
        await asyncio.sleep(LOOK_EVERY)


def _reachable(settings: Settings, listening: str) -> str:
    """Where the platform is reached from this machine: an address that stands for all is none to connect to."""
    return listening.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
