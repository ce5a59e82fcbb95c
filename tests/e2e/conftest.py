"""One platform for all that users see, started as they start it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from deploy.setup.images import BUSYBOX
from tests.support.platform import Platform, whole_platform
from tests.support.platform_api import Api
from tests.support.processes import zombies_of


@pytest.fixture(scope="package")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    arguments = {"MACHETE_BUILD_ARGS": f"BASE_IMAGE={BUSYBOX}"}
    async with whole_platform(tmp_path_factory.mktemp("whole"), arguments) as platform:
        yield platform
        assert platform.complaints() == []
        assert zombies_of(platform.processes["machete"].pid) == []


@pytest.fixture
def api(platform: Platform) -> Api:
    return platform.api
