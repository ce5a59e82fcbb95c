"""`python -m services` as its own process, with made-up services in place of the real ones.

    python -m tests.support.services_program MODE

Says on standard output what happens: `started one`, `left one`. MODE: `well`; `broken`, where one breaks
right after the start; `stuck`, where one never leaves.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import APIRouter

from libs.runtime.service import Service
from services import __main__, registry
from tests.support.served import service


def say(text: str) -> None:
    print(text, flush=True)


def spoken(name: str, mode: str) -> Callable[[], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def run() -> AsyncGenerator[None]:
        async with asyncio.TaskGroup() as tasks:
            if mode == "broken" and name == "two":
                tasks.create_task(break_down())
            say(f"started {name}")
            yield
        if mode == "stuck" and name == "two":
            await asyncio.Event().wait()
        say(f"left {name}")

    return run


async def break_down() -> None:
    await asyncio.sleep(0.1)
    raise ConnectionError("the bus is gone for good")


def slow() -> APIRouter:
    router = APIRouter()

    @router.get("/api/v1/slow")
    async def answer(seconds: float) -> str:
        say("asked")
        await asyncio.sleep(seconds)
        return "done"

    return router


def assemble(_names: object) -> list[Service]:
    mode = sys.argv[1]
    one = service("one", slow(), run=spoken("one", mode))
    return [one, service("two", run=spoken("two", mode))]


if __name__ == "__main__":
    registry.settings_classes = list
    registry.assemble = assemble
    sys.exit(__main__.main(["one", "two"]))
