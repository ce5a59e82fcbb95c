"""Stacks whose files, containers or folders somebody tampers with, and operations on them that are cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker.types import IPAMConfig, IPAMPool

from deploy.setup.images import BUSYBOX
from tests.support.platform import Platform
from tests.support.platform_checks import fresh, nothing_waits
from tests.support.platform_process import said_by_machine
from tests.support.platform_stacks import (
    container,
    did,
    inside,
    inspected,
    installed,
    page,
    removed,
    serves,
    service,
    stack,
    states,
    waits,
)
from tests.support.platform_tools import sleeping
from tests.support.platform_waiting import until

UP = ("running", "none")


def kept(platform: Platform, tool: str) -> Path:
    """The folder with what was written down of the only release of a tool."""
    (found,) = (each for each in (platform.folder_of(tool) / "releases").iterdir() if each.is_dir())
    return found


@pytest.mark.parametrize("garbage", [None, b"{"], ids=["gone", "garbage"])
async def test_what_was_kept_of_a_stack_can_be_lost_and_it_is_stopped_started_and_uninstalled_all_the_same(
    platform: Platform, garbage: bytes | None
) -> None:
    services = {"web": serves("here", ports=["8080"], volumes=["./data:/data"]), "built": {"build": ".", "init": True}}
    dockerfile = f'FROM {BUSYBOX}\nCMD ["sleep", "5000"]\n'
    name, install = await installed(platform, stack(services, files={"Dockerfile": dockerfile}))
    tool = await platform.api.tool(name)
    await inside(platform, container(platform, install.tool, "web"), "touch", "/data/mine")
    for lost in (("compose.json",), ("places.json",), ("compose.json", "places.json", "config.json", "build.json")):
        for file in lost:
            path = kept(platform, install.tool) / file
            path.unlink() if garbage is None else path.write_bytes(garbage)
        again = await did(platform, "start", name)
        assert (again["state"], again["urls"], states(again)) == ("running", tool["urls"], {"built": UP, "web": UP})
        assert await page(again) == "here"
        assert (await inside(platform, container(platform, install.tool, "web"), "ls", "/data"))[1] == "mine\n"
    for file in kept(platform, install.tool).glob("*.json"):
        file.unlink() if garbage is None else file.write_bytes(garbage)
    (kept(platform, install.tool) / "source" / "compose.yaml").write_text("services: [broken")
    assert (await did(platform, "stop", name))["state"] == "stopped"
    assert not await platform.hand.running(install.tool)
    refused = await platform.api.done(await platform.api.start(name))
    assert (refused["state"], refused["error"]["code"]) == ("failed", "compose_invalid")
    await removed(platform, name, install.tool)


async def test_a_container_removed_by_hand_shows_as_missing_and_is_made_again(platform: Platform) -> None:
    name, install = await installed(platform, stack({"web": serves("x", ports=["8080"]), "other": waits()}))
    sdk = platform.hand.sdk

    async def shown(state: str, words: str = "") -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            tool = await platform.api.tool(name)
            return tool if tool["state"] == state and words in (tool["reason"] or "") else None

        return await until(look, f"{name} is {state}: {words}")

    async def by_hand(what: Any, *services: str, **options: Any) -> None:
        for each in services:
            await asyncio.to_thread(what, container(platform, install.tool, each), **options)

    async def is_said() -> bool:
        said = await platform.observed(install.tool)
        return any(each.state == "degraded" and "other is gone" in (each.reason or "") for each in said)

    async def is_made_again() -> bool:
        latest = (await platform.api.get("/api/v1/operations", tool=name))["operations"][0]
        return (latest["kind"], latest["state"]) == ("start", "succeeded")

    await by_hand(sdk.remove_container, "other", force=True)
    began = time.monotonic()
    await until(is_said, "it is said that it is missing")
    print(f"said after {time.monotonic() - began:.2f} s")
    assert time.monotonic() - began < 10
    await until(is_made_again, "it is made again", 60)
    await nothing_waits(platform)
    assert states(await platform.api.tool(name)) == {"other": UP, "web": UP}

    await by_hand(sdk.remove_container, "other", "web", force=True)
    await shown("failed", "by hand after it had been started again")
    await asyncio.to_thread(sdk.remove_network, f"machete-{platform.instance}-{install.tool}_default")
    assert states(await did(platform, "start", name)) == {"other": UP, "web": UP}

    await by_hand(sdk.pause, "other")
    await shown("degraded", "other is paused")
    assert states(await did(platform, "start", name)) == {"other": UP, "web": UP}
    await removed(platform, name, install.tool)


async def test_a_link_that_a_tool_put_in_place_of_its_folder_is_refused_at_start(platform: Platform) -> None:
    name, install = await installed(platform, stack({"web": waits(volumes=[".:/all", "./inner:/all/inner"])}))
    await did(platform, "stop", name)
    data = platform.folder_of(install.tool) / "data"
    inner = next(path for path in data.rglob("inner") if path.parent.name == "_within")
    inner.rmdir()
    inner.symlink_to("/etc")
    refused = await platform.api.done(await platform.api.start(name))
    assert (refused["state"], refused["error"]["code"]) == ("failed", "mount_refused"), refused
    assert "inner" in refused["error"]["message"]
    assert not await platform.hand.running(install.tool)
    inner.unlink()
    assert (await did(platform, "start", name))["state"] == "running"
    await removed(platform, name, install.tool)


async def test_a_file_of_the_platform_s_own_that_says_more_than_it_may_is_refused_at_start(platform: Platform) -> None:
    name, install = await installed(platform, stack({"web": waits(volumes=["./data:/data"])}))
    await did(platform, "stop", name)
    file = kept(platform, install.tool) / "compose.json"
    said = file.read_text()
    file.write_text(said.replace(str(platform.folder_of(install.tool) / "data" / "data"), "/etc"))
    assert file.read_text() != said
    refused = await platform.api.done(await platform.api.start(name))
    assert (refused["state"], refused["error"]["code"]) == ("failed", "policy_refused"), refused
    await removed(platform, name, install.tool)


async def test_a_cancelled_build_of_a_stack_ends_on_the_engine_and_leaves_nothing(platform: Platform) -> None:
    mark = sleeping()
    files = stack({"slow": {"build": "."}, "web": waits()}, files={"Dockerfile": f"FROM {BUSYBOX}\nRUN sleep {mark}\n"})
    install = await platform.api.install(fresh("slow"), platform.forge.tool(fresh("repo"), files), start=True)
    await until(lambda: said_by_machine(mark), "the build runs")
    await platform.api.cancel(install.operation)
    assert (await platform.api.done(install))["state"] == "cancelled"
    await until(lambda: not said_by_machine(mark), "the build has ended")
    await platform.is_gone(install.tool)


async def test_a_cancelled_start_of_a_stack_leaves_nothing_running(platform: Platform) -> None:
    never = {"test": ["CMD", "false"], "interval": "1h", "start_interval": "1h"}
    services = {
        "slow": waits(healthcheck=never),
        "waiting": waits(depends_on={"slow": {"condition": "service_healthy"}}),
    }
    name = fresh("slow")
    install = await platform.api.install(name, platform.forge.tool(fresh("repo"), stack(services)))
    assert (await platform.api.done(install))["state"] == "succeeded"
    start = await platform.api.start(name)
    await until(lambda: platform.hand.running(install.tool), "its first service runs")
    await platform.api.cancel(start.operation)
    assert (await platform.api.done(start))["state"] == "cancelled"
    assert not await platform.hand.running(install.tool)
    assert (await platform.api.tool(name))["state"] == "stopped"
    await removed(platform, name, install.tool)


@contextmanager
def somebody_else_s(platform: Platform, tool: str, image: str) -> Generator[dict[str, str]]:
    """A container, a network and a volume that are called nearly as the tool's are."""
    sdk, project = platform.hand.sdk, f"machete-{platform.instance}-{tool}"
    labels = {"com.docker.compose.project": project}
    own = IPAMConfig(pool_configs=[IPAMPool(subnet="10.211.45.0/28")])  # the engine may have none left to give
    network = sdk.create_network(f"{project}_theirs", labels=labels, ipam=own)["Id"]
    volume = sdk.create_volume(f"{project}_theirs", labels=labels)["Name"]
    made = sdk.create_container(image, ["sleep", "5000"], name=f"{project}-theirs-1", labels=labels)["Id"]
    try:
        yield {"container": made, "network": network, "volume": volume}
    finally:
        sdk.remove_container(made, force=True)
        sdk.remove_network(network)
        sdk.remove_volume(volume)


async def test_nothing_of_anybody_else_s_is_taken_along(platform: Platform) -> None:
    """Although it is called like the tool's own, and says that it belongs to its Compose project."""
    name, install = await installed(platform, stack({"web": waits(volumes=["own:/own"])}, volumes={"own": None}))
    with somebody_else_s(platform, install.tool, BUSYBOX) as theirs:
        await did(platform, "stop", name)
        await did(platform, "start", name)
        await removed(platform, name, install.tool)
        sdk = platform.hand.sdk
        assert (await inspected(platform, theirs["container"]))["State"]["Status"] == "created"
        assert await asyncio.to_thread(sdk.inspect_network, theirs["network"])
        assert await asyncio.to_thread(sdk.inspect_volume, theirs["volume"])


async def test_a_folder_is_the_user_s_that_a_service_runs_as_also_when_it_has_to_be_made_again(
    platform: Platform,
) -> None:
    script = service("while :; do touch /data/mine && sleep 5000 & wait $!; done", user="1234:2345")
    files = stack({"web": {**script, "volumes": ["./data:/data"]}}, files={"data/given": "x"})
    name, install = await installed(platform, files)
    data = platform.folder_of(install.tool) / "data" / "data"
    owners = [(path.stat().st_uid, path.stat().st_gid) for path in (data, data / "given", data / "mine")]
    assert owners == [(1234, 2345)] * 3
    await did(platform, "stop", name)
    await asyncio.to_thread(data.rename, data.with_name("moved"))
    await did(platform, "start", name)
    await until((data / "mine").exists, "it writes to its folder")
    await removed(platform, name, install.tool)
