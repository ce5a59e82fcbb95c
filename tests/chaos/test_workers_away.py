"""Nobody is there to carry out what is accepted: whoever asks for the platform's health is told, and who is missing."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.support.platform import Platform, split_platform
from tests.support.platform_checks import fresh, succeeded
from tests.support.platform_tools import web
from tests.support.platform_waiting import until


@pytest.fixture(scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    async with split_platform(tmp_path_factory.mktemp("workers")) as platform:
        yield platform
        assert platform.complaints() == []


async def told(platform: Platform, status: str, missing: str | None) -> None:
    """Until health says so; by the processes and the engine nothing else is wrong."""

    async def look() -> bool:
        health = await platform.api.health()
        checks = health["services"]["gateway"]["checks"]
        failing = [name for name, check in checks.items() if not check["ok"]]
        return (health["status"], health["ready"], failing) == (status, True, [] if missing is None else [missing])

    await until(look, f"health is {status} for want of {missing}")


@pytest.mark.parametrize("worker", ["installer", "orchestrator"])
async def test_a_worker_that_is_not_there_is_missed_until_it_is_back(platform: Platform, worker: str) -> None:
    await told(platform, "ok", None)
    await platform.processes[worker].kill()
    await told(platform, "degraded", worker)
    if worker == "orchestrator":
        found = await platform.api.get("/api/diagnostics")
        assert found["checks"]["engine"] == {
            "healthy": False,
            "detail": "not known, since no orchestrator is there",
        }
    install = await platform.api.install(fresh("tool"), platform.forge.tool("web", web()), start=False)
    await platform.processes[worker].start()
    await told(platform, "ok", None)
    await succeeded(platform, install)
