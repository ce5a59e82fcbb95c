"""All that NATS kept is deleted: the tools are there again, as they were, and can be operated as before."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.contracts.names import is_operation_id
from tests.support.platform import Platform, whole_platform
from tests.support.platform_api import Accepted
from tests.support.platform_checks import fresh, succeeded
from tests.support.platform_process import belonging_to
from tests.support.platform_stacks import did, serves, stack
from tests.support.platform_stacks import installed as stack_installed
from tests.support.platform_tools import PAGE, web
from tests.support.platform_waiting import until

SAME = ("id", "name", "kind", "state", "reason", "desired", "release", "urls", "services", "source", "description")


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncGenerator[Platform]:
    async with whole_platform(tmp_path) as platform:
        yield platform
        assert platform.complaints() == []


async def lose_the_streams(platform: Platform) -> None:
    """As somebody does who deletes the folder of a platform that stands still."""
    await platform.processes["machete"].kill()
    await until(lambda: not belonging_to(platform.data), "no process of the platform is left")
    shutil.rmtree(platform.data / "nats" / "jetstream")
    platform.api.begins_anew()


async def installed(platform: Platform, name: str, **body: Any) -> Accepted:
    install = await platform.api.install(name, platform.forge.tool("web", web()), **body)
    await succeeded(platform, install)
    return install


async def tools(platform: Platform, count: int) -> dict[str, dict[str, Any]]:
    """All of them, once there are so many, and none is still on its way."""

    found: list[dict[str, Any]] = []

    async def look() -> bool:
        found[:] = (await platform.api.get("/api/v1/tools", limit=500))["tools"]
        return len(found) == count and all(each["state"] != "pending" for each in found)

    await until(look, f"there are {count} tools")
    return {each["name"]: each for each in found}


async def kept(platform: Platform, *ids: str) -> None:
    """Returns when what is known of them is in their folders."""

    def look() -> bool:
        files = [platform.folder_of(id) / "releases" / "kept.json" for id in ids]
        return all(file.exists() for file in files)

    await until(look, "what is known of the tools is kept")


async def is_served(tool: dict[str, Any], text: str) -> None:
    async def look() -> bool:
        async with httpx.AsyncClient() as client:
            return text in (await client.get(tool["urls"][0])).text

    await until(look, f"{tool['name']} answers at {tool['urls'][0]}")


async def test_tools_are_there_again_as_they_were_and_obey(platform: Platform) -> None:
    runs, stands = fresh("runs"), fresh("stands")
    first = await installed(platform, runs, start=True)
    second = await installed(platform, stands, start=True)
    await did(platform, "stop", stands)
    pile, third = await stack_installed(platform, stack({"front": serves("whole"), "back": serves("other")}))
    gone = await installed(platform, fresh("gone"))
    await succeeded(platform, await platform.api.uninstall(gone.body["operation"]["tool_name"]))
    ids = (first.tool, second.tool, third.tool)
    await kept(platform, *ids)
    before = await tools(platform, 3)
    running = await platform.hand.running(first.tool)

    await lose_the_streams(platform)
    await platform.start()
    after = await tools(platform, 3)
    assert [{key: after[name][key] for key in SAME} for name in before] == [
        {key: before[name][key] for key in SAME} for name in before
    ]
    assert await platform.hand.running(first.tool) == running, "its container was not touched"
    operations = (await platform.api.get("/api/v1/operations"))["operations"]
    assert {each["tool"]: (each["kind"], each["state"], each["requested_by"]) for each in operations} == dict.fromkeys(
        ids, ("install", "succeeded", "service:orchestrator")
    )
    lines = await platform.api.all_lines(operations[0]["links"]["log"])
    assert "The streams were lost" in lines[0]["text"]
    assert "they are taken over" in platform.processes["machete"].said()
    await is_served(after[runs], PAGE)

    refused = await httpx.AsyncClient().post(
        f"{platform.url()}/api/v1/tools",
        json={"git_url": platform.forge.tool("web", web()), "name": runs},
        headers={"Authorization": f"Bearer {(platform.data / 'admin.token').read_text().strip()}"},
    )
    assert (refused.status_code, refused.json()["code"]) == (409, "name_taken")
    for name, id in ((runs, first.tool), (stands, second.tool), (pile, third.tool)):
        assert (await did(platform, "stop", name))["state"] == "stopped"
        assert await platform.hand.running(id) == []
        await did(platform, "build", name)
        again = await did(platform, "start", name)
        assert (again["state"], again["urls"]) == ("running", before[name]["urls"])
        await succeeded(platform, await platform.api.uninstall(name))
        await platform.is_gone(id)

    await lose_the_streams(platform)
    await platform.start()
    assert await tools(platform, 0) == {}
    assert is_operation_id((await installed(platform, runs)).operation)


async def test_lost_again_and_killed_while_taking_over_they_come_back_all_the_same(platform: Platform) -> None:
    names = [fresh("again") for _ in range(4)]
    ids = [(await installed(platform, name, start=True)).tool for name in names]
    await kept(platform, *ids)
    before = await tools(platform, 4)
    for _ in range(2):
        await lose_the_streams(platform)
        platform.processes["machete"].launch()
        await until(lambda: "taken over" in platform.processes["machete"].said(), "it takes over")
        await platform.processes["machete"].kill()
        await until(lambda: not belonging_to(platform.data), "no process of the platform is left")
        await platform.start()
        after = await tools(platform, 4)
        assert {name: after[name]["state"] for name in names} == dict.fromkeys(names, "running")
        assert {name: after[name]["urls"] for name in names} == {name: before[name]["urls"] for name in names}
        operations = (await platform.api.get("/api/v1/operations"))["operations"]
        assert sorted(each["tool"] for each in operations) == sorted(ids)


async def test_what_should_run_and_does_not_is_started_at_its_address(platform: Platform) -> None:
    """Its container is lost as well; what is kept, and its image, bring it back."""
    name = fresh("bare")
    install = await installed(platform, name, start=True)
    await kept(platform, install.tool)
    before = await platform.api.tool(name)
    await lose_the_streams(platform)
    await platform.hand.remove(install.tool)
    await platform.start()

    async def runs() -> bool:
        return (await tools(platform, 1))[name]["state"] == "running"

    await until(runs, "it runs again")
    after = await platform.api.tool(name)
    assert after["urls"] == before["urls"]
    await is_served(after, PAGE)


async def test_a_folder_that_cannot_be_read_is_named_and_the_others_come_back(platform: Platform) -> None:
    names = [fresh("half") for _ in range(5)]
    ids = [(await installed(platform, name, start=True)).tool for name in names]
    await kept(platform, *ids)
    await lose_the_streams(platform)
    files = [platform.folder_of(id) / "releases" / "kept.json" for id in ids]
    files[0].write_text("{")
    files[1].write_text(json.dumps({**json.loads(files[1].read_text()), "tool": {"id": ids[1]}}))
    files[2].unlink()
    files[3].write_text(files[4].read_text())
    (platform.data / "instance").unlink()
    await platform.start()
    assert set(await tools(platform, 1)) == {names[4]}

    def strangers() -> set[str]:
        return {line["tool"] for line in platform.processes["machete"].lines() if "nobody knows" in line["event"]}

    await until(lambda: strangers() == set(ids[:4]), "all containers that belong to nobody are named")
    said = [line for line in platform.processes["machete"].lines() if "folder" in line]
    named = {Path(line["folder"]).name: line["problem"] for line in said}
    assert set(named) == set(ids[:4])
    assert named[ids[2]] == "kept.json is missing"
    assert len(await platform.hand.running(ids[0])) == 1
    await did(platform, "stop", names[4])
