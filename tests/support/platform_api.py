"""The platform over HTTP, as any client uses it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import ClientConnection, connect

PATIENCE = 60.0


class Refusal(AssertionError):
    """An answer that is no success: `status`, and the problem that came with it."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text[:2000]}")
        self.status = answer.status_code
        self.problem: dict[str, Any] = answer.json() if "json" in answer.headers.get("content-type", "") else {}


@dataclass(frozen=True)
class Accepted:
    """What a 202 said."""

    operation: str
    tool: str
    kind: str
    position: int
    waiting_for: tuple[str, ...]
    body: dict[str, Any]


def accepted(answer: httpx.Response) -> Accepted:
    if answer.status_code != 202:
        raise Refusal(answer)
    body = answer.json()
    operation = body["operation"]
    return Accepted(
        operation["id"],
        operation["tool"],
        operation["kind"],
        body["position"],
        tuple(body.get("waiting_for", ())),
        body,
    )


class Live:
    """The frames that come over one connection."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.cursor: str | None = None

    async def next(self, patience: float = 30) -> dict[str, Any]:
        async with asyncio.timeout(patience):
            frame = json.loads(await self._socket.recv())
        self.cursor = frame["cursor"]
        return frame

    async def until(self, wanted: Callable[[dict[str, Any]], bool], patience: float = 30) -> list[dict[str, Any]]:
        """All frames up to the first that is wanted, that one included."""
        frames: list[dict[str, Any]] = []
        async with asyncio.timeout(patience):
            while not frames or not wanted(frames[-1]):
                frames.append(await self.next(patience))
        return frames


class Api:
    """One client with the administrator's token. Every call raises `Refusal` for what is no success.

    It remembers the position of what it did, and asks as of that where a request says nothing else.
    """

    def __init__(self, url: str, token: str) -> None:
        limits = httpx.Limits(max_connections=200)
        headers = {"Authorization": f"Bearer {token}"}
        hooks: dict[str, list[Callable[..., Any]]] = {"request": [self._as_of], "response": [self._did]}
        self.client = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=PATIENCE, limits=limits, event_hooks=hooks
        )
        self.token = token
        self._position = 0

    def knows(self, position: int) -> None:
        """What is asked from now on is answered as of this event, or later."""
        self._position = max(self._position, position)

    def begins_anew(self) -> None:
        """What was done is not known any more."""
        self._position = 0

    async def _did(self, answer: httpx.Response) -> None:
        self.knows(int(answer.headers.get("machete-position", 0)))

    async def _as_of(self, request: httpx.Request) -> None:
        if request.method == "GET" and self._position and "position" not in request.url.params:
            request.headers.setdefault("machete-position", str(self._position))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.aclose()

    async def install(self, name: str, git_url: str, *, key: str | None = None, **body: Any) -> Accepted:
        return await self._change("POST", "/api/v1/tools", key, json={"git_url": git_url, "name": name, **body})

    async def build(self, name: str, *, key: str | None = None) -> Accepted:
        return await self._change("POST", f"/api/v1/tools/{name}/build", key)

    async def start(self, name: str, *, key: str | None = None) -> Accepted:
        return await self._change("POST", f"/api/v1/tools/{name}/start", key)

    async def stop(self, name: str, *, key: str | None = None, now: bool = False) -> Accepted:
        return await self._change("POST", f"/api/v1/tools/{name}/stop", key, params=_only(now=now))

    async def restart(self, name: str, *, key: str | None = None) -> Accepted:
        return await self._change("POST", f"/api/v1/tools/{name}/restart", key)

    async def uninstall(self, name: str, *, key: str | None = None, now: bool = False, data: bool = True) -> Accepted:
        return await self._change("DELETE", f"/api/v1/tools/{name}", key, params=_only(now=now, data=data))

    async def change(self, action: str, name: str) -> Accepted:
        """`build`, `start`, `stop`, `restart` or `uninstall`, by its name."""
        return await getattr(self, action)(name)

    async def cancel(self, operation: str) -> Accepted:
        return await self._change("POST", f"/api/v1/operations/{operation}/cancel", None)

    async def _change(self, method: str, path: str, key: str | None, **given: Any) -> Accepted:
        headers = {"Idempotency-Key": key} if key is not None else {}
        return accepted(await self.client.request(method, path, headers=headers, **given))

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.client.get(path, params=query or None)  # {} would take away those of the path
        if answer.status_code != 200:
            raise Refusal(answer)
        return answer.json()

    @asynccontextmanager
    async def lines(self, path: str, **query: Any) -> AsyncGenerator[AsyncIterator[dict[str, Any]]]:
        """NDJSON, object by object, as it comes; leaving hangs up."""
        async with self.client.stream("GET", path, params=query or None, timeout=PATIENCE) as answer:
            if answer.status_code != 200:
                await answer.aread()
                raise Refusal(answer)
            assert answer.headers["content-type"] == "application/x-ndjson"
            yield (json.loads(line) async for line in answer.aiter_lines() if line)

    async def all_lines(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Those that come until the other side ends."""
        async with self.lines(path, **query) as lines:
            return [line async for line in lines]

    @asynccontextmanager
    async def live(self, *topics: str, cursor: str | None = None) -> AsyncGenerator[Live]:
        """A WebSocket that follows these topics."""
        query = urlencode([*(("topic", topic) for topic in topics), *([("cursor", cursor)] if cursor else [])])
        address = str(self.client.base_url).replace("http", "ws", 1).rstrip("/")
        headers = {"Authorization": f"Bearer {self.token}"}
        async with connect(f"{address}/api/v1/live?{query}", additional_headers=headers, proxy=None) as socket:
            yield Live(socket)

    async def done(self, accepted: Accepted, wait: float = 50) -> dict[str, Any]:
        """The operation once it has ended."""
        shown = await self.get(f"/api/v1/operations/{accepted.operation}", wait=wait, position=accepted.position)
        assert shown["state"] in ("succeeded", "failed", "cancelled"), shown
        return shown

    async def tool(self, name: str) -> dict[str, Any]:
        return await self.get(f"/api/v1/tools/{name}")

    async def health(self) -> dict[str, Any]:
        """Answered with 503 while the platform is not ready; the body is the same."""
        return (await self.client.get("/api/health")).json()


def _only(**flags: bool) -> dict[str, str]:
    return {name: "true" for name, given in flags.items() if given}
