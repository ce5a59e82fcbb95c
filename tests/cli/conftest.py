"""A platform without workers for each module, the command beside it, and somebody who works when a test says so."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest

from services.gateway import app as gateway
from services.gateway.settings import Settings as GatewaySettings
from services.status import app as status
from services.status.settings import Settings as StatusSettings
from tests.cli.hands import Shell, Worker
from tests.support.served import served
from tests.support.stage import Stage, staged


@pytest.fixture(scope="module")
async def stage() -> AsyncGenerator[Stage]:
    async with staged() as ready:
        yield ready


@pytest.fixture(scope="module")
async def platform(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[tuple[str, str]]:
    """Its address, and the administrator's token."""
    data = tmp_path_factory.mktemp("platform")

    def given(user: str) -> dict[str, object]:
        connection = {"nats_url": stage.server.url, "nats_user": user, "nats_password": stage.server.password(user)}
        return {"data": data, **connection}

    services = (
        gateway.build(GatewaySettings.model_validate(given("gateway"))),
        status.build(StatusSettings.model_validate(given("status"))),
    )
    async with served(*services, data=data) as running:
        yield f"http://127.0.0.1:{running.port}", (data / "admin.token").read_text().strip()


@pytest.fixture
async def api(platform: tuple[str, str]) -> AsyncGenerator[httpx.AsyncClient]:
    url, token = platform
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        yield client


@pytest.fixture
def shell(platform: tuple[str, str], tmp_path: Path) -> Shell:
    url, token = platform
    return Shell(tmp_path, MACHETE_URL=url, MACHETE_TOKEN=token)


@pytest.fixture
def lost(tmp_path: Path) -> Shell:
    """On a machine where no platform runs."""
    return Shell(tmp_path)


@pytest.fixture
def worker(stage: Stage) -> Worker:
    return Worker(stage.witness)
