"""Real gateways on a real NATS server, asked over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.runtime.http.authentication import Authenticate
from libs.runtime.http.problems import MEDIA_TYPE
from libs.runtime.service import Service
from services.gateway.app import build
from services.gateway.settings import Settings
from tests.support.nats_server import NATS_VERSIONS
from tests.support.served import served
from tests.support.stage import Stage

GIT_URL = "https://git.example.org/tools/hello-web.git"

on_both_servers = pytest.mark.parametrize("stage", NATS_VERSIONS, indirect=True)


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

    async def uninstall(self, name: str, key: str | None = None, **params: Any) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.client.delete(f"/api/v1/tools/{name}", headers=headers, params=params)


def gateway_settings(stage: Stage, data: Path, **given: object) -> Settings:
    connection = {
        "data": data,
        "nats_url": stage.server.url,
        "nats_user": "gateway",
        "nats_password": stage.server.password("gateway"),
        "agents_key": stage.issuer.seed,
        "answers_password": stage.server.password("answers"),
        "warden_password": stage.server.password("warden"),
    }
    return Settings.model_validate({**connection, **given})


@asynccontextmanager
async def door(
    stage: Stage, data: Path, *, authenticate: Authenticate | None = None, **given: object
) -> AsyncGenerator[Door]:
    """A gateway of its own; several on one `data` share its token. `authenticate`: who else is known there."""
    service = build(gateway_settings(stage, data, **given))
    if authenticate is not None:
        service = Service(service.name, service.routes, service.run, service.health, authenticate)
    async with served(service, data=data) as running:
        token = (data / "admin.token").read_text().strip()
        async with clients(running.port, token) as (client, stranger):
            yield Door(data, token, client, stranger)


@asynccontextmanager
async def clients(port: int, token: str) -> AsyncGenerator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """One who shows the token, and one who does not.

    Each request has a connection of its own: on a kept one, asyncio's own loop sends the second half of an answer
    only when the first was acknowledged, which takes the client 40 ms.
    """
    address, apart = f"http://127.0.0.1:{port}", httpx.Limits(max_keepalive_connections=0)
    async with (
        httpx.AsyncClient(base_url=address, limits=apart, timeout=30) as client,
        httpx.AsyncClient(base_url=address, limits=apart, timeout=30) as stranger,
    ):
        client.headers["authorization"] = f"Bearer {token}"
        yield client, stranger


def accepted(response: httpx.Response) -> dict[str, Any]:
    """The body of a 202."""
    assert response.status_code == 202, response.text
    assert response.headers["content-type"] == "application/json"
    body: dict[str, Any] = response.json()
    assert response.headers["location"] == body["operation"]["links"]["self"]
    return body


def operation(response: httpx.Response) -> str:
    """The id of the operation that a request became."""
    return accepted(response)["operation"]["id"]


def refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document (RFC 9457) of an answer that had to be this refusal."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    document: dict[str, Any] = response.json()
    assert (document["type"], document["status"], document["code"]) == (f"/problems/{code}", status, code)
    assert all(isinstance(document[member], str) and document[member] for member in ("title", "detail"))
    return document
