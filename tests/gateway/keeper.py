"""A gateway in a process of its own, which kills or stops itself at the step of acceptance that it is told.

The steps are reached by wrapping the bus here, in that process: the gateway itself knows nothing of tests.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from libs.contracts.streams import NAMES
from libs.runtime import logging
from libs.runtime.bus.connection import Bus
from libs.runtime.http.server import listen
from libs.runtime.service import run, serve
from services.gateway.app import build
from services.gateway.settings import Settings
from tests.gateway.doors import Door, clients, gateway_settings
from tests.support.processes import state_of, until
from tests.support.stage import Stage

KILL, PAUSE = signal.SIGKILL, signal.SIGSTOP
# What a gateway writes on the way to a 202, in this order; a change of a tool that is there writes the last two.
STEPS: Mapping[str, str] = {
    "id": f"$KV.{NAMES.name}.id.",
    "name": f"$KV.{NAMES.name}.name.",
    "command": "machete.cmd.",
    "accepted": "machete.evt.",
}

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["pytest", "tests.gateway.keeper"])


@dataclass(frozen=True)
class Orders:
    """`halt`: before or after which step of STEPS to send itself `signal`, once."""

    settings: Mapping[str, Any]
    output: Path
    halt: tuple[str, str] | None
    signal: signal.Signals


def main(orders: Orders, ready: Connection) -> None:
    """The process. Says its port when it has started."""
    output = os.open(orders.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    logging.configure("info", "json")
    _obey(orders)
    settings = Settings.model_validate(orders.settings)
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    run(serve([build(settings)], settings, ready=lambda: ready.send(port), listener=listener))


def _obey(orders: Orders) -> None:
    publish = Bus._publish  # pyright: ignore[reportPrivateUsage]
    left = [orders.halt]

    def here(when: str, subject: str) -> None:
        if left and left[0] is not None and when == left[0][0] and subject.startswith(STEPS[left[0][1]]):
            left.clear()
            os.kill(os.getpid(), orders.signal)

    async def publishing(bus: Bus, stream: Any, subject: str, *more: Any) -> Any:
        here("before", subject)
        stored = await publish(bus, stream, subject, *more)
        here("after", subject)
        return stored

    Bus._publish = publishing  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]


@dataclass(frozen=True)
class Keeper(Door):
    """The process from outside: a door as any other, until it is dead."""

    process: BaseProcess
    output: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    async def dead(self) -> None:
        await until(lambda: not self.process.is_alive())
        assert self.process.exitcode == -KILL

    async def paused(self) -> None:
        await until(lambda: state_of(self.pid) == "T")

    def wake(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def said(self) -> str:
        return self.output.read_text()


@asynccontextmanager
async def keeper(
    stage: Stage,
    data: Path,
    *,
    halt: tuple[str, str] | None = None,
    signal: signal.Signals = KILL,
    **given: object,
) -> AsyncGenerator[Keeper]:
    known = gateway_settings(stage, data).model_dump()
    shown = {name: value.get_secret_value() for name, value in known.items() if isinstance(value, SecretStr)}
    settings = known | shown
    output = data / "keeper.log"
    orders = Orders({**settings, **given}, output, halt, signal)
    theirs, ours = _processes.Pipe()
    process = _processes.Process(target=main, args=(orders, ours), daemon=True)
    process.start()
    ours.close()
    try:
        try:
            port = await asyncio.to_thread(theirs.recv)
        except EOFError:
            raise RuntimeError(f"the gateway did not start: {output.read_text()}") from None
        token = (data / "admin.token").read_text().strip()
        async with clients(port, token) as (client, stranger):
            yield Keeper(data, token, client, stranger, process, output)
    finally:
        process.kill()
        process.join()


async def dies(doomed: Keeper, request: Awaitable[httpx.Response]) -> None:
    """Returns when it has died of this request, which nobody answered."""
    try:
        answer = await request
    except httpx.TransportError:
        await doomed.dead()
    else:
        raise AssertionError(f"it lived and said {answer.text}")
