"""Who follows a log from a terminal goes on where it was after the whole platform was killed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.cli.hands import Shell
from tests.support.platform import Platform, whole_platform
from tests.support.platform_checks import fresh, succeeded
from tests.support.platform_process import belonging_to
from tests.support.platform_tools import talkative
from tests.support.platform_waiting import until


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncGenerator[Platform]:
    async with whole_platform(tmp_path) as platform:
        yield platform


async def test_a_followed_log_has_each_line_once_whatever_became_of_the_platform(
    platform: Platform, tmp_path: Path
) -> None:
    name = fresh("talks")
    install = await platform.api.install(name, platform.forge.tool("talks", talkative()), start=True)
    await succeeded(platform, install)
    more = platform.folder_of(install.tool) / "data" / "data" / "more"
    shell = Shell(tmp_path, MACHETE_URL=platform.url(), MACHETE_TOKEN=platform.api.token)
    running = await shell.begin("logs", "-f", name, "--tail", "2")
    await running.until("line 4\n")
    await platform.processes["machete"].kill()
    await until(lambda: not belonging_to(platform.data), "no process of the platform is left")
    more.touch()
    await until(lambda: not more.exists(), "it prints while nobody is there")
    await platform.start()
    await running.until("line 5\n")
    more.touch()
    await running.until("line 6\n")
    running.interrupt()
    said = await running.end()
    assert said.out.splitlines() == [f"line {number}" for number in (3, 4, 5, 6)]
    assert "Waiting for it" in said.err
