"""Agents for tests: plain clients of NATS with the credentials file that the gateway gave out."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from libs.contracts.agents import STATUS_HEADER
from libs.runtime.bus.connecting import close, servers_of
from tests.gateway.doors import Door
from tests.support.stage import Stage


@dataclass(frozen=True)
class Said:
    """An answer. `headers` are those beside the status."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.raw)

    def refused(self, status: int, code: str) -> dict[str, Any]:
        assert (self.status, self.body.get("code")) == (status, code), self
        assert self.headers["Content-Type"] == "application/problem+json"
        return self.body

    def accepted(self) -> dict[str, Any]:
        assert self.status == 202, self
        assert self.headers["Location"] == self.body["operation"]["links"]["self"]
        return self.body

    @property
    def operation(self) -> str:
        return self.accepted()["operation"]["id"]


def said(message: Msg) -> Said:
    headers = dict(message.headers or {})
    return Said(int(headers.pop(STATUS_HEADER)), headers, message.data)


@dataclass
class Robot:
    """`refusals` is what the server told the connection."""

    name: str
    credentials: Path
    client: Client
    refusals: list[str] = field(default_factory=list[str])

    async def ask(self, door: str, fields: object = None, *, timeout: float = 15, raw: bytes | None = None) -> Said:
        body = raw if raw is not None else b"" if fields is None else json.dumps(fields).encode()
        return said(await self.client.request(f"machete.agent.v1.{self.name}.{door}", body, timeout=timeout))


async def hired(gateway: Door, name: str, role: str = "operator", folder: Path | None = None) -> Path:
    """A new agent's credentials file."""
    answer = await gateway.client.post("/api/v1/agents", json={"name": name, "role": role})
    assert answer.status_code == 201, answer.text
    path = (folder or gateway.data) / f"{name}.creds"
    path.write_text(answer.json()["credentials"])
    return path


@asynccontextmanager
async def connected(stage: Stage, name: str, credentials: Path, **options: Any) -> AsyncGenerator[Robot]:
    refusals: list[str] = []

    async def hear(problem: Exception) -> None:
        refusals.append(str(problem))

    chosen = {"inbox_prefix": f"_INBOX_agent.{name}".encode(), "reconnect_time_wait": 0.1, **options}
    servers = servers_of(stage.server.url)
    client = await nats.connect(servers, user_credentials=str(credentials), error_cb=hear, **chosen)
    try:
        yield Robot(name, credentials, client, refusals)
    finally:
        await close(client)


@asynccontextmanager
async def robot(
    stage: Stage, gateway: Door, name: str = "robot", role: str = "operator", **options: Any
) -> AsyncGenerator[Robot]:
    """A new agent, connected; `options` as for `nats.connect`."""
    async with connected(stage, name, await hired(gateway, name, role), **options) as there:
        yield there
