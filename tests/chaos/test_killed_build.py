"""kill -9 of the orchestrator while it builds again what was pruned."""

from __future__ import annotations

import asyncio

import pytest

from libs.contracts.operations import OperationCancelled
from tests.support.platform import Platform
from tests.support.platform_api import Accepted
from tests.support.platform_checks import fresh, nothing_waits, succeeded
from tests.support.platform_tools import web


async def rebuilding(platform: Platform, gate: str, *, start: bool) -> tuple[Accepted, str]:
    """A build that stands still at the gate; the tool's image was pruned, and its Dockerfile asks for more since."""
    name = fresh("pruned")
    install = await platform.api.install(name, platform.forge.tool(fresh("repo"), web()), start=start)
    await succeeded(platform, install)
    (image,) = (await platform.hand.seen(install.tool)).images
    await asyncio.to_thread(platform.hand.sdk.remove_image, image, force=True)
    (dockerfile,) = (platform.folder_of(install.tool) / "releases").glob("*/source/Dockerfile")
    dockerfile.write_text(f"{dockerfile.read_text()}\nADD {platform.gate.url}/{gate} /gate\n")
    build = await platform.api.build(name)
    await platform.gate.reached(gate)
    return build, image


@pytest.mark.parametrize("running", [False, True])
async def test_a_build_whose_worker_was_killed_is_carried_out_by_the_next(singles: Platform, running: bool) -> None:
    gate = fresh("gate")
    build, image = await rebuilding(singles, gate, start=running)
    before = await singles.api.tool(build.body["operation"]["tool_name"])
    await singles.processes["orchestrator"].restart()
    await singles.started(build, times=2)
    singles.gate.open(gate)
    await succeeded(singles, build)
    await nothing_waits(singles)
    assert image in (await singles.hand.seen(build.tool)).images
    after = await singles.api.tool(before["name"])
    assert (after["state"], after["desired"]) == (before["state"], before["desired"])
    assert len(await singles.hand.running(build.tool)) == int(running)


async def test_a_build_cancelled_while_its_worker_is_dead_leaves_the_tool_as_it_is(singles: Platform) -> None:
    gate = fresh("gate")
    build, image = await rebuilding(singles, gate, start=True)
    before = await singles.api.tool(build.body["operation"]["tool_name"])
    (container,) = await singles.hand.running(build.tool)
    await singles.processes["orchestrator"].kill()
    await singles.api.cancel(build.operation)
    await singles.start()
    ended = await singles.ended(build)
    singles.gate.open(gate)
    assert isinstance(ended, OperationCancelled), ended
    assert ended.effect == "none"
    await nothing_waits(singles)
    assert await singles.hand.running(build.tool) == [container]
    assert image not in (await singles.hand.seen(build.tool)).images
    shown = await singles.api.tool(before["name"])
    assert (shown["state"], shown["desired"], shown["urls"]) == (before["state"], before["desired"], before["urls"])
