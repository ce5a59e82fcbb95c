"""One platform in containers for all that is tried on it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.support.platform import SERVICES
from tests.support.platform_api import Api
from tests.support.platform_containers import ContainedPlatform, contained_platform

HERE = Path(__file__).parent
# Of all processes in the container: nobody but ours could take them away.
ZOMBIES = """
from pathlib import Path
states = {each.name: (each / "stat").read_text().rpartition(")")[2].split()[0] for each in Path("/proc").glob("[0-9]*")}
print([number for number, state in states.items() if state == "Z"])
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first one waits for images and for nine containers."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="package")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ContainedPlatform]:
    async with contained_platform(tmp_path_factory.mktemp("contained")) as platform:
        yield platform
        assert platform.complaints() == []
        assert {
            service: platform.within(service, "python", "-c", ZOMBIES).stdout for service in SERVICES
        } == dict.fromkeys(SERVICES, "[]\n")


@pytest.fixture
def api(platform: ContainedPlatform) -> Api:
    return platform.api
