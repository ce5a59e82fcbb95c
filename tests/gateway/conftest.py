"""A stage for each test, and a gateway on it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.gateway.doors import Door, door
from tests.support.stage import Stage
from tests.support.stage import stage as set_stage


@pytest.fixture
async def stage(request: pytest.FixtureRequest) -> AsyncGenerator[Stage]:
    """With the newest server; a parameter names another version."""
    async with set_stage(getattr(request, "param", "newest")) as ready:
        yield ready


@pytest.fixture
async def gateway(stage: Stage, tmp_path: Path) -> AsyncGenerator[Door]:
    async with door(stage, tmp_path) as open_door:
        yield open_door
