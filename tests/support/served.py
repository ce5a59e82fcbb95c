"""Services for tests, served as they are in earnest: a real server on a free port, asked over HTTP."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastapi import APIRouter

from libs.contracts.principals import Principal
from libs.runtime import logging
from libs.runtime.health import Check
from libs.runtime.http.server import listen
from libs.runtime.service import Service, serve
from libs.runtime.settings import Settings

TOKEN = "a-token-for-tests-1234567890"
ADMIN = Principal(kind="user", name="admin", role="admin")


async def tell(token: str) -> Principal | None:
    return ADMIN if token == TOKEN else None


@asynccontextmanager
async def idle() -> AsyncGenerator[None]:
    yield


async def well() -> Sequence[Check]:
    return [Check("nats", ok=True)]


def service(
    name: str = "gateway",
    routes: APIRouter | None = None,
    *,
    run: Callable[[], AbstractAsyncContextManager[None]] = idle,
    health: Callable[[], Awaitable[Sequence[Check]]] = well,
    authenticate: Callable[[str], Awaitable[Principal | None]] | None = tell,
) -> Service:
    return Service(name=name, routes=routes, run=run, health=health, authenticate=authenticate)


async def until_healthy(client: httpx.AsyncClient, *, within: float = 20.0) -> None:
    async with asyncio.timeout(within):
        while True:
            if (await client.get("/api/health")).status_code == 200:
                return
            await asyncio.sleep(0.02)


@dataclass
class Served:
    """`client` shows the token; `stranger` shows none. `task` is the running `serve()`."""

    port: int
    client: httpx.AsyncClient
    stranger: httpx.AsyncClient
    task: asyncio.Task[None]


@asynccontextmanager
async def served(*services: Service, data: Path, wait: bool = True, **given: object) -> AsyncGenerator[Served]:
    """Serves them until the block ends; with `wait`, the block begins when all have started."""
    logging.configure("info", "json")
    listener = listen("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    settings = Settings.model_validate({"data": data, "port": port, **given})
    ready = asyncio.Event()
    task = asyncio.create_task(serve(services, settings, ready=ready.set, listener=listener))
    address = f"http://127.0.0.1:{port}"
    shown = {"authorization": f"Bearer {TOKEN}"}
    async with (
        httpx.AsyncClient(base_url=address, headers=shown) as client,
        httpx.AsyncClient(base_url=address) as stranger,
    ):
        if wait:
            waiting = asyncio.create_task(ready.wait())
            await asyncio.wait([waiting, task], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if task.done():
                await task
        try:
            yield Served(port, client, stranger, task)
        finally:
            if not task.done():
                task.cancel()
            await asyncio.wait([task])
