"""Real gateways on a real NATS server, asked over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from services.gateway.app import build
from services.gateway.settings import Settings
from tests.support.served import served
from tests.support.stage import Stage

GIT_URL = "https://git.example.org/tools/hello-web.git"


@dataclass(frozen=True)
class Door:
    """One gateway. `client` shows the administrator's token, `stranger` none."""

    data: Path
    token: str
    client: httpx.AsyncClient
    stranger: httpx.AsyncClient

    async def post(self, path: str, body: object = None, key: str | None = None, **params: Any) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.client.post(f"/api/v1{path}", json=body, headers=headers, params=params)

    async def install(self, key: str | None = None, **body: object) -> httpx.Response:
        return await self.post("/tools", {"git_url": GIT_URL, **body}, key)


@asynccontextmanager
async def door(stage: Stage, data: Path, **given: object) -> AsyncGenerator[Door]:
    """A gateway of its own; several on one `data` share its token."""
    settings = Settings.model_validate(
        {
            "data": data,
            "nats_url": stage.server.url,
            "nats_user": "gateway",
            "nats_password": stage.server.password("gateway"),
            **given,
        }
    )
    async with served(build(settings), data=data) as running:
        token = (data / "admin.token").read_text().strip()
        running.client.headers["authorization"] = f"Bearer {token}"
        running.client.timeout = httpx.Timeout(30)
        yield Door(data, token, running.client, running.stranger)
