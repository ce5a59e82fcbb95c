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


async def test_who_follows_a_tool_that_is_uninstalled_is_told_and_follows_none_that_gets_its_name(
    platform: Platform, tmp_path: Path
) -> None:
    name, repository = fresh("leaves"), platform.forge.tool("talks", talkative(2))
    install = await platform.api.install(name, repository, start=True)
    await succeeded(platform, install)
    shell = Shell(tmp_path, MACHETE_URL=platform.url(), MACHETE_TOKEN=platform.api.token)
    running = await shell.begin("logs", "-f", name)
    away = await shell.begin("logs", "-f", name)
    for each in (running, away):
        await each.until("line 1\n")
    away.pause()  # its connection is over by the time it looks again
    await succeeded(platform, await platform.api.uninstall(name))
    again = await platform.api.install(name, repository, start=True)
    await succeeded(platform, again)
    await platform.processes["machete"].kill()
    await until(lambda: not belonging_to(platform.data), "no process of the platform is left")
    await platform.start()
    away.wake()
    for each in (running, away):
        said = await each.end()
        assert (said.code, said.out.splitlines()) == (0, ["line 0", "line 1"])
        assert f"{name} was uninstalled: its log ends here." in said.err


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
