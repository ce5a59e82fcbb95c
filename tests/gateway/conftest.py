"""A stage for each test, and a gateway on it; or one of each for a whole module."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.gateway.doors import Door, door
from tests.gateway.ledger import Ledger
from tests.support.stage import Stage, staged


@pytest.fixture
async def stage(request: pytest.FixtureRequest) -> AsyncGenerator[Stage]:
    """With the newest server; a parameter names another version."""
    async with staged(getattr(request, "param", "newest")) as ready:
        yield ready


@pytest.fixture
async def gateway(stage: Stage, tmp_path: Path) -> AsyncGenerator[Door]:
    async with door(stage, tmp_path) as open_door:
        yield open_door


@pytest.fixture
def ledger(stage: Stage) -> Ledger:
    return Ledger(stage)


@pytest.fixture(scope="module")
async def shared_stage() -> AsyncGenerator[Stage]:
    """For tests that leave nothing behind in which others could stumble."""
    async with staged() as ready:
        yield ready


@pytest.fixture(scope="module")
async def shared(shared_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Door]:
    async with door(shared_stage, tmp_path_factory.mktemp("gateway")) as open_door:
        yield open_door


@pytest.fixture
def shared_ledger(shared_stage: Stage) -> Ledger:
    return Ledger(shared_stage)
