"""What somebody made of tools' containers with `docker commit` is no part of them, to anybody who looks at them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.platform import Platform, whole_platform
from tests.support.platform_checks import fresh, succeeded
from tests.support.platform_stacks import inspected, installed, serves, stack, waits
from tests.support.platform_tools import Files, talkative

QUICK = {"MACHETE_LOOK_INTERVAL": "0.5"}


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncGenerator[Platform]:
    async with whole_platform(tmp_path, environment=QUICK) as platform:
        yield platform
        assert platform.complaints() == []


@asynccontextmanager
async def committed(platform: Platform, name: str) -> AsyncGenerator[str]:
    """A container of somebody's, run from an image that he made of that one. It says so, and ends with 7."""
    sdk, theirs = platform.hand.sdk, fresh("backup")
    await asyncio.to_thread(sdk.commit, name, repository=theirs, tag="1")
    command = ["sh", "-c", "trap 'exit 7' TERM; echo this is a backup; sleep 5000 & wait $!"]
    made = (await asyncio.to_thread(sdk.create_container, f"{theirs}:1", command, name=theirs))["Id"]
    try:
        await asyncio.to_thread(sdk.start, made)
        yield made
    finally:
        await asyncio.to_thread(sdk.remove_container, made, force=True)
        await asyncio.to_thread(sdk.remove_image, f"{theirs}:1", force=True)


@pytest.mark.parametrize(
    ("files", "suffix"),
    [(talkative(2), ""), (stack({"web": serves("x", ports=["8080"]), "db": waits()}), "-web-1")],
    ids=["container", "stack"],
)
async def test_what_was_committed_is_not_shown_nor_followed_nor_removed(
    platform: Platform, files: Files, suffix: str
) -> None:
    name, install = await installed(platform, files)
    own = f"machete-{platform.instance}-{install.tool}{suffix}"
    before = await platform.api.tool(name)
    async with committed(platform, own) as theirs:
        await asyncio.to_thread(platform.hand.sdk.stop, theirs, timeout=5)
        await asyncio.to_thread(platform.hand.sdk.start, theirs)
        await asyncio.to_thread(platform.hand.sdk.stop, own, timeout=5)
        await asyncio.to_thread(platform.hand.sdk.start, own)
        await asyncio.sleep(4 * float(QUICK["MACHETE_LOOK_INTERVAL"]))
        after = await platform.api.tool(name)
        shown = [(each["state"], each["reason"], len(each["services"])) for each in (before, after)]
        assert shown[0] == shown[1]
        lines = await platform.api.all_lines(f"/api/v1/tools/{name}/logs")
        assert not [line for line in lines if "backup" in line["text"]]
        seen = await platform.observed(install.tool)
        assert not [each for each in seen if each.container and "backup" in each.container]
        await succeeded(platform, await platform.api.uninstall(name))
        assert (await inspected(platform, theirs))["State"]["Running"]
    await platform.is_gone(install.tool)
