"""Where clients of the harness ask: at a gateway over HTTP, or over NATS as an agent does, with a credentials file."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import nats
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from libs.contracts.agents import STATUS_HEADER
from libs.runtime.bus.connecting import close, servers_of
from tests.support.platform import Platform
from tests.support.platform_api import Accepted, accepted

# Seconds for an answer.
PATIENCE = 10.0
log = structlog.get_logger(__name__)


class Door(Protocol):
    """What a client asks at: HTTP or NATS. Raises `Refusal`, and httpx.HTTPError where no answer came."""

    async def install(self, name: str, git_url: str, *, key: str | None = None, **body: Any) -> Accepted: ...
    async def build(self, name: str, *, key: str | None = None) -> Accepted: ...
    async def start(self, name: str, *, key: str | None = None) -> Accepted: ...
    async def stop(self, name: str, *, key: str | None = None, now: bool = False) -> Accepted: ...
    async def restart(self, name: str, *, key: str | None = None) -> Accepted: ...
    async def uninstall(
        self, name: str, *, key: str | None = None, now: bool = False, data: bool = True
    ) -> Accepted: ...
    async def cancel(self, operation: str) -> Accepted: ...


@dataclass
class Robot:
    """Speaks to whichever gateway takes the request. What no answer came to is httpx.ReadTimeout, as over HTTP."""

    name: str
    url: str
    credentials: Path
    _client: Client = field(default_factory=Client)

    async def install(self, name: str, git_url: str, *, key: str | None = None, **body: Any) -> Accepted:
        return await self._ask("tools.install", key, name=name, git_url=git_url, **body)

    async def build(self, name: str, *, key: str | None = None) -> Accepted:
        return await self._ask("tools.build", key, name=name)

    async def start(self, name: str, *, key: str | None = None) -> Accepted:
        return await self._ask("tools.start", key, name=name)

    async def stop(self, name: str, *, key: str | None = None, now: bool = False) -> Accepted:
        return await self._ask("tools.stop", key, name=name, now=now)

    async def restart(self, name: str, *, key: str | None = None) -> Accepted:
        return await self._ask("tools.restart", key, name=name)

    async def uninstall(self, name: str, *, key: str | None = None, now: bool = False, data: bool = True) -> Accepted:
        return await self._ask("tools.uninstall", key, name=name, now=now, data=data)

    async def cancel(self, operation: str) -> Accepted:
        return await self._ask("operations.cancel", None, id=operation)

    async def _ask(self, door: str, key: str | None, **fields: Any) -> Accepted:
        subject = f"machete.agent.v1.{self.name}.{door}"
        request = httpx.Request("NATS", f"nats://agent/{subject}")
        body = json.dumps(fields | ({"idempotency_key": key} if key is not None else {}))
        try:
            answer = await (await self._connected()).request(subject, body.encode(), timeout=PATIENCE)
        except (NatsError, OSError, RuntimeError) as problem:
            raise httpx.ReadTimeout(repr(problem), request=request) from problem
        headers = {name: value for name, value in (answer.headers or {}).items() if name != STATUS_HEADER}
        status = int((answer.headers or {})[STATUS_HEADER])
        return accepted(httpx.Response(status, headers=headers, content=answer.data, request=request))

    async def _connected(self) -> Client:
        """The connection, made anew where it ended for good: that is what a client does that is not let in in time."""
        if not self._client.is_connected and not self._client.is_reconnecting:
            self._client = await nats.connect(
                servers_of(self.url),
                user_credentials=str(self.credentials),
                inbox_prefix=f"_INBOX_agent.{self.name}".encode(),
                reconnect_time_wait=0.2,
                error_cb=_noted,
            )
        return self._client

    async def close(self) -> None:
        if self._client.is_connected or self._client.is_reconnecting:
            await close(self._client)


async def _noted(problem: Exception) -> None:
    log.debug("an agent's connection", problem=repr(problem))


@asynccontextmanager
async def robot(platform: Platform, url: str, folder: Path) -> AsyncGenerator[Robot]:
    """A new agent that may do what the mix asks for; `url` is where it reaches NATS."""
    name = "robot"
    answer = await platform.api.client.post("/api/v1/agents", json={"name": name, "role": "admin"})
    assert answer.status_code == 201, answer.text
    credentials = folder / f"{name}.creds"
    credentials.write_text(answer.json()["credentials"])
    made = Robot(name, url, credentials)
    try:
        yield made
    finally:
        await made.close()
