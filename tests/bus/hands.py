"""Labourers' processes, held from outside: killed, paused and woken."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import signal
import time
from collections.abc import Awaitable, Callable
from multiprocessing.process import BaseProcess
from typing import TypeVar

from tests.bus import labourer
from tests.bus.orders import Orders
from tests.support.processes import freeze, state_of

WITHIN = 40.0

Found = TypeVar("Found")

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["pytest", "tests.bus.labourer"])


@functools.cache
def ready() -> None:
    """The process that all labourers are forked from has imported what they need; that takes seconds."""
    first = _processes.Process(target=int)
    first.start()
    first.join()


async def eventually(look: Callable[[], Awaitable[Found | None]], what: str, within: float = WITHIN) -> Found:
    """What `look` finds, as soon as that is something."""
    give_up = time.monotonic() + within
    while not (found := await look()):
        assert time.monotonic() < give_up, f"not within {within:g} s: {what}"
        await asyncio.sleep(0.02)
    return found


class Hand:
    """One labourer's process, held from outside."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self._process: BaseProcess = _processes.Process(target=labourer.main, args=(orders,), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def pause(self) -> None:
        freeze(self.pid)

    def wake(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def dead(self) -> None:
        async def look() -> bool:
            return not self._process.is_alive()

        await eventually(look, f"{self.orders.name} dies")

    async def paused(self) -> None:
        async def look() -> bool:
            return state_of(self.pid) == "T"

        await eventually(look, f"{self.orders.name} is paused")

    def end(self) -> None:
        if self._process.is_alive():
            self.kill()

    def said(self) -> str:
        return self.orders.output.read_text() if self.orders.output.exists() else ""
