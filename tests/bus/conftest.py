"""A NATS server for each test, and the hub on it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.bus.hub import Hub, staged_hub


@pytest.fixture
async def hub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Hub]:
    """On the newest server; tests parametrise it for others. No labourer may complain in the end."""
    async with staged_hub(getattr(request, "param", "newest"), tmp_path) as hub:
        yield hub
        assert not hub.complaints()
