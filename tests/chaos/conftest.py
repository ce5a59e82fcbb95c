"""Platforms to be mistreated. One serves all tests of a module, which leave it whole again."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.support.platform import Platform, split_platform


@pytest.fixture(scope="module")
async def pairs(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    """Two of everything that may be there twice."""
    folder = tmp_path_factory.mktemp("pairs")
    async with split_platform(folder, gateway=2, installer=2, orchestrator=2, status=0) as platform:
        yield platform
        assert platform.complaints() == []


@pytest.fixture(scope="module")
async def singles(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    """One of each service."""
    async with split_platform(tmp_path_factory.mktemp("singles")) as platform:
        yield platform
        assert platform.complaints() == []
