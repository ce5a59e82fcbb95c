"""Two platforms on one engine: what one does, the other one's tools do not notice."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.support.platform import Platform, split_platform
from tests.support.platform_checks import fresh, succeeded
from tests.support.platform_engine import Seen
from tests.support.platform_tools import Files, web, with_volume
from tests.support.platform_waiting import until


@pytest.fixture(scope="module")
async def neighbour(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    async with split_platform(tmp_path_factory.mktemp("neighbour"), status=0) as platform:
        yield platform
        assert platform.complaints() == []


async def there(platform: Platform, name: str, files: Files) -> str:
    """A running tool; its id."""
    install = await platform.api.install(name, platform.forge.tool("same", files), start=True)
    await succeeded(platform, install)
    return install.tool


async def test_two_platforms_with_tools_of_one_name_do_not_touch_each_other_s(
    singles: Platform, neighbour: Platform
) -> None:
    name = fresh("twin")
    ours, theirs = await there(singles, name, with_volume()), await there(neighbour, name, with_volume())
    before, state = await neighbour.hand.seen(), await neighbour.hand.inspect(theirs)
    mine: Seen = await singles.hand.seen()
    assert not (before.containers & mine.containers)
    assert not (before.images & mine.images)
    assert not (before.networks & mine.networks)
    assert not (before.volumes & mine.volumes)
    for action in ("restart", "stop", "start", "uninstall"):
        await succeeded(singles, await singles.api.change(action, name))
    await singles.is_gone(ours)
    for process in singles.processes.values():
        await process.restart()
    after = await neighbour.hand.inspect(theirs)
    assert await neighbour.hand.seen() == before
    assert (after["Id"], after["State"]["StartedAt"]) == (state["Id"], state["State"]["StartedAt"])
    assert await neighbour.hand.running(theirs)


async def test_a_platform_does_not_hear_of_what_happens_to_another_one_s_tools(
    singles: Platform, neighbour: Platform
) -> None:
    ours, theirs = await there(singles, fresh("ours"), web()), await there(neighbour, fresh("theirs"), web())
    told = await singles.observed(theirs)
    await neighbour.hand.stop(theirs)
    await singles.hand.stop(ours)
    await until(lambda: _heard(neighbour, theirs), "the neighbour sees that its tool was stopped")
    await until(lambda: _heard(singles, ours), "we see that ours was stopped")
    assert await singles.observed(theirs) == told == []
    assert await neighbour.observed(ours) == []


async def _heard(platform: Platform, tool: str) -> bool:
    return any(each.action == "die" for each in await platform.observed(tool))
