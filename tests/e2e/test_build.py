"""A tool's images are built again when they are gone, and nothing else about the tool changes."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.support.platform import Platform
from tests.support.platform_api import Api
from tests.support.platform_checks import fresh
from tests.support.platform_tools import Files, web

KEPT = ("state", "desired", "since", "urls", "release")


async def installed(platform: Platform, files: Files | None = None, **body: Any) -> tuple[str, str]:
    """The name and id of a new tool."""
    name = fresh("built")
    accepted = await platform.api.install(name, platform.forge.tool(fresh("repo"), files or web()), **body)
    assert (await platform.api.done(accepted))["state"] == "succeeded"
    return name, accepted.tool


def a_stack() -> Files:
    files = web("of a stack")
    del files["machete.yml"]
    files["compose.yaml"] = b"services:\n  web:\n    build: .\n    ports: ['8080']\n"
    return files


async def prune(platform: Platform, tool: str) -> str:
    """As a person does who makes room on the disk: the container and its image. Returns the image's name."""
    (image,) = (await platform.hand.seen(tool)).images
    await platform.hand.remove(tool)
    await asyncio.to_thread(platform.hand.sdk.remove_image, image)
    assert not (await platform.hand.seen(tool)).images
    return image


async def test_a_tool_whose_image_was_pruned_does_not_start_until_it_is_built_again(
    platform: Platform, api: Api
) -> None:
    name, tool = await installed(platform)
    image = await prune(platform, tool)
    failed = await api.done(await api.start(name))
    assert (failed["state"], failed["error"]["code"]) == ("failed", "image_missing")
    assert "build the tool again" in failed["error"]["message"]
    assert (await api.tool(name))["state"] == "failed"

    accepted = await api.build(name)
    built = await api.done(accepted)
    assert (built["kind"], built["state"], [step["name"] for step in built["steps"]]) == (
        "build",
        "succeeded",
        ["build"],
    )
    assert (await platform.hand.seen(tool)).images == {image}
    assert await api.all_lines(f"/api/v1/operations/{accepted.operation}/log")
    shown = await api.tool(name)
    assert (shown["state"], shown["desired"], shown["reason"]) == ("stopped", "stopped", None)
    assert not await platform.hand.running(tool)

    assert (await api.done(await api.start(name)))["state"] == "succeeded"
    assert (await api.tool(name))["state"] == "running"


@pytest.mark.parametrize("kind", ["container", "stack"])
async def test_a_build_that_has_nothing_to_do_says_so(platform: Platform, api: Api, kind: str) -> None:
    name, tool = await installed(platform, web() if kind == "container" else a_stack())
    (image,) = (await platform.hand.seen(tool)).images
    accepted = await api.build(name)
    assert (await api.done(accepted))["state"] == "succeeded"
    (line,) = await api.all_lines(f"/api/v1/operations/{accepted.operation}/log")
    assert line["text"] == f"the image {image} of this release is there already: nothing to build"


async def test_a_running_tool_goes_on_in_its_container_while_it_is_built_again(platform: Platform, api: Api) -> None:
    name, tool = await installed(platform, web("steady"), start=True)
    before, container = await api.tool(name), (await platform.hand.inspect(tool))["Id"]
    (image,) = (await platform.hand.seen(tool)).images
    await asyncio.to_thread(platform.hand.sdk.remove_image, image, force=True)
    ended = await api.done(await api.build(name))
    assert ended["state"] == "succeeded", ended
    assert image in (await platform.hand.seen(tool)).images
    assert (await platform.hand.inspect(tool))["Id"] == container
    after = await api.tool(name)
    assert [after[field] for field in KEPT] == [before[field] for field in KEPT]
    async with httpx.AsyncClient() as client:
        assert (await client.get(after["urls"][0])).text == "steady"


@pytest.mark.parametrize("running", [False, True])
async def test_a_stack_is_built_again_as_well(platform: Platform, api: Api, running: bool) -> None:
    name, tool = await installed(platform, a_stack(), start=running)
    (image,) = (await platform.hand.seen(tool)).images
    before, containers = await api.tool(name), await platform.hand.running(tool)
    assert (before["kind"], before["state"]) == ("stack", "running" if running else "stopped")
    await asyncio.to_thread(platform.hand.sdk.remove_image, image, force=True)
    ended = await api.done(await api.build(name))
    assert ended["state"] == "succeeded", ended
    assert image in (await platform.hand.seen(tool)).images
    after = await api.tool(name)
    assert [after[field] for field in KEPT] == [before[field] for field in KEPT]
    assert await platform.hand.running(tool) == containers
    assert (await api.done(await api.start(name)))["state"] == "succeeded"
    assert (await api.tool(name))["state"] == "running"


async def test_a_build_that_fails_or_is_cancelled_leaves_the_tool_as_it_is(platform: Platform, api: Api) -> None:
    """The build asks a gate: it can be held for as long as the cancel needs, and let fail after that."""
    gate = fresh("gate")
    files = web("as it was")
    files["Dockerfile"] += f"\nADD {platform.gate.url}/{gate} /gate".encode()
    platform.gate.open(gate)
    name, tool = await installed(platform, files, start=True)
    before = await api.tool(name)
    (image,) = (await platform.hand.seen(tool)).images
    await asyncio.to_thread(platform.hand.sdk.remove_image, image, force=True)
    broken = platform.folder_of(tool) / "releases" / before["release"]["id"] / "source" / "Dockerfile"
    text = broken.read_text()

    broken.write_text(text + "\nRUN echo it broke here && exit 7\n")
    failed = await api.done(await api.build(name))
    assert (failed["state"], failed["error"]["code"]) == ("failed", "build_failed")
    assert await api.tool(name) == before

    held = fresh("held")
    broken.write_text(f"{text}\nADD {platform.gate.url}/{held} /held\n")
    accepted = await api.build(name)
    await platform.gate.reached(held)
    await api.cancel(accepted.operation)
    cancelled = await api.done(accepted)
    assert (cancelled["state"], cancelled["error"]["code"]) == ("cancelled", "cancelled")
    assert await api.tool(name) == before
    assert image not in (await platform.hand.seen(tool)).images


async def test_a_tool_that_is_gone_is_not_built(platform: Platform, api: Api) -> None:
    name, _ = await installed(platform)
    uninstall = await api.uninstall(name)
    # Taken before the name is free: it waits in the lane behind the uninstall.
    answer = await api.client.post(f"/api/v1/tools/{name}/build")
    assert (await api.done(uninstall))["state"] == "succeeded"
    if answer.status_code == 202:
        ended = await api.get(f"/api/v1/operations/{answer.json()['operation']['id']}", wait=50)
        assert (ended["state"], ended["error"]["code"]) == ("failed", "tool_gone")
    else:
        assert answer.json()["code"] == "tool_not_found"
    assert (await api.client.post(f"/api/v1/tools/{name}/build")).status_code == 404
