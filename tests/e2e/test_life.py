"""A tool's life over HTTP, from its Git address to nothing left of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from deploy.githost import git
from tests.support.platform import Platform
from tests.support.platform_api import Api, Refusal
from tests.support.platform_checks import fresh
from tests.support.platform_stacks import inspected, service, stack
from tests.support.platform_tools import Files, exits, gated, never_ready, web, with_volume
from tests.support.platform_waiting import until

OPERATION = {"id", "kind", "tool", "state", "error", "steps", "requested_by", "created_at", "ended_at", "links"}
JSON = {"Content-Type": "application/json"}
TOOL = {"id", "name", "kind", "engine", "state", "reason", "since", "release", "urls", "services"}


async def page(url: str) -> str:
    async with httpx.AsyncClient() as client:
        answer = await client.get(url)
        answer.raise_for_status()
        return answer.text


async def installed(platform: Platform, files: Files | None = None, **body: Any) -> tuple[str, dict[str, Any]]:
    """The name of a new tool, and how its install ended."""
    name = fresh("tool")
    url = platform.forge.tool(fresh("repo"), files or web())
    return name, await platform.api.done(await platform.api.install(name, url, **body))


# Install.


async def test_a_branch_a_tag_a_commit_and_a_folder_can_be_installed(platform: Platform, api: Api) -> None:
    repo = fresh("repo")
    url = platform.forge.tool(repo, web("first"))
    first = platform.forge.commits[f"{repo}/main"]
    git(f"--git-dir={platform.forge.repository(repo)}", "tag", "v1", first)
    inside = {f"tools/one/{path}": content for path, content in web("folder").items()}
    platform.forge.tool(repo, {**web("newest"), **inside})
    newest = platform.forge.commits[f"{repo}/main"]
    platform.forge.tool(repo, web("branch"), "feature/other")
    branch = platform.forge.commits[f"{repo}/feature/other"]
    wanted = {
        "default": ({}, newest, "newest"),
        "branch": ({"ref": "feature/other"}, branch, "branch"),
        "tag": ({"ref": "v1"}, first, "first"),
        "commit": ({"ref": first}, first, "first"),
        "abbreviated": ({"ref": first[:10]}, first, "first"),
        "folder": ({"subdir": "tools/one"}, newest, "folder"),
    }

    async def one(what: str) -> None:
        body, commit, text = wanted[what]
        name = fresh(what)
        ended = await api.done(await api.install(name, url, start=True, **body))
        assert ended["state"] == "succeeded", ended
        tool = await api.tool(name)
        assert tool["release"]["commit"] == commit
        assert await page(tool["urls"][0]) == text

    await asyncio.gather(*map(one, wanted))


async def test_a_202_has_the_operation_its_links_and_a_position(platform: Platform, api: Api) -> None:
    name, url = fresh("shape"), platform.forge.tool("web", web())
    answer = await api.client.post("/api/v1/tools", json={"git_url": url, "name": name})
    assert answer.status_code == 202
    body = answer.json()
    operation = body["operation"]
    assert {"id", "kind", "tool", "state", "links"} <= set(operation)
    # Its state is the one at the time of the answer: work may have begun before the answer is written.
    assert operation["kind"] == "install"
    assert operation["state"] in ("accepted", "running")
    assert operation["tool"].startswith(f"{name}-")
    assert operation["id"] in answer.headers["location"]
    # What the links promise is there at once: who asks right after sees what he did.
    shown = await api.get(operation["links"]["self"])
    assert (shown["id"], shown["tool"]) == (operation["id"], operation["tool"])
    tool = await api.get(operation["links"]["tool"])
    assert (tool["id"], tool["name"]) == (operation["tool"], name)
    ended = await api.get(f"/api/v1/operations/{operation['id']}", wait=50)
    assert ended["state"] == "succeeded"


@pytest.mark.parametrize("milliseconds", [0, 3, 1000])
async def test_a_client_that_hangs_up_has_not_failed_its_operation(
    platform: Platform, api: Api, milliseconds: int
) -> None:
    """Whether it had been accepted, the repetition under the same key tells: it is carried out once."""
    name = fresh("hasty")
    body = json.dumps({"git_url": platform.forge.tool("web", web()), "name": name, "start": True}).encode()
    head = (
        "POST /api/v1/tools HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {api.token}\r\nIdempotency-Key: {name}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    url = api.client.base_url
    _, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(head.encode() + body)
    await writer.drain()
    await asyncio.sleep(milliseconds / 1000)
    writer.transport.abort()
    again = await api.client.post("/api/v1/tools", content=body, headers={"Idempotency-Key": name, **JSON})
    assert again.status_code == 202
    ended = await api.get(f"/api/v1/operations/{again.json()['operation']['id']}", wait=50)
    assert ended["state"] == "succeeded"
    (found,) = [
        each for each in (await api.get("/api/v1/operations", limit=500))["operations"] if each["tool"] == ended["tool"]
    ]
    assert found["id"] == ended["id"]


async def test_the_name_is_the_last_part_of_the_address_unless_another_is_given(platform: Platform, api: Api) -> None:
    repo = fresh("named")
    answer = await api.client.post("/api/v1/tools", json={"git_url": platform.forge.tool(repo, web())})
    assert answer.json()["operation"]["tool"].startswith(f"{repo}-")
    ended = await api.get(f"/api/v1/operations/{answer.json()['operation']['id']}", wait=50)
    assert ended["state"] == "succeeded"
    assert (await api.tool(repo))["name"] == repo


async def test_an_operation_shows_its_steps_and_who_asked(platform: Platform) -> None:
    _, ended = await installed(platform, start=True)
    assert set(ended) >= OPERATION
    assert (ended["kind"], ended["state"], ended["error"]) == ("install", "succeeded", None)
    assert ended["requested_by"] == "user:admin"
    assert [step["name"] for step in ended["steps"]] == ["fetch", "build", "start"]
    for step in ended["steps"]:
        assert set(step) == {"name", "state", "started_at", "ended_at"}
        assert step["state"] == "succeeded"
        assert ended["created_at"] <= step["started_at"] <= step["ended_at"] <= ended["ended_at"]


async def test_a_tool_shows_its_state_release_and_address_and_answers_there(platform: Platform, api: Api) -> None:
    name, _ = await installed(platform, web("here it is"), start=True)
    tool = await api.tool(name)
    assert set(tool) >= TOOL
    assert (tool["name"], tool["kind"], tool["engine"]) == (name, "container", "local")
    assert (tool["state"], tool["reason"]) == ("running", None)
    assert set(tool["release"]) == {"id", "commit", "version"}
    assert tool["release"]["version"] == "1.2.3"
    (service,) = tool["services"]
    assert (service["state"], set(service) >= {"name", "state", "health"}) == ("running", True)
    assert await page(tool["urls"][0]) == "here it is"
    listed = (await api.get("/api/v1/tools", limit=500))["tools"]
    assert [each for each in listed if each["name"] == name] == [tool]


async def test_a_tool_that_is_installed_and_not_started_is_stopped(platform: Platform, api: Api) -> None:
    name, ended = await installed(platform)
    assert [step["name"] for step in ended["steps"]] == ["fetch", "build"]
    tool = await api.tool(name)
    assert (tool["state"], tool["reason"]) == ("stopped", None)
    assert not await platform.hand.running(tool["id"])


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(exits(3), id="container"),
        pytest.param(stack({"app": service("exit 3")}), id="stack"),
        pytest.param(stack({"app": service("exit 3", restart="no")}), id="job"),
        pytest.param(stack({"app": service("sleep 0.2; exit 3", restart="no")}), id="job-that-works-for-a-moment"),
    ],
)
async def test_what_ended_while_it_was_started_is_shown_as_ended(platform: Platform, api: Api, files: Files) -> None:
    """The install had seen its containers before they were started: what the engine shows since then counts."""
    name, ended = await installed(platform, files, start=True)
    assert ended["error"]["code"] == "exited", ended

    (container,) = (await platform.hand.seen(ended["tool"])).containers

    async def as_the_engine_says() -> bool:
        (shown,) = (await api.tool(name))["services"]
        seen = (await inspected(platform, container))["State"]
        return (shown["state"], shown["exit_code"]) == (seen["Status"], seen["ExitCode"]) == ("exited", 3)

    await until(as_the_engine_says, "its container is shown as the engine has it")


# Its log.


async def test_the_log_of_an_operation_comes_line_by_line_while_it_works_and_stays(
    platform: Platform, api: Api
) -> None:
    gate = fresh("gate")
    files = web()
    files["Dockerfile"] += f"\nRUN echo the build says {gate}\nADD {platform.gate.url}/{gate} /gate".encode()
    install = await api.install(fresh("loud"), platform.forge.tool(gate, files))
    path = f"/api/v1/operations/{install.operation}/log"
    seen: list[dict[str, Any]] = []
    async with api.lines(path, follow=True) as lines:
        async for line in lines:
            seen.append(line)
            if f"the build says {gate}" in line["text"] and not line["text"].startswith("#0"):
                # It is held now, so what came so far came while it worked.
                platform.gate.open(gate)
    assert (await api.done(install))["state"] == "succeeded"
    assert all(set(line) == {"number", "time", "text"} for line in seen)
    assert await api.all_lines(path) == seen
    assert await api.all_lines(path, follow=True) == seen
    assert any("naming to" in line["text"] or "writing image" in line["text"] for line in seen)


# Stop, start, restart.


async def test_a_tool_is_stopped_started_and_restarted_and_keeps_its_address(platform: Platform, api: Api) -> None:
    name, _ = await installed(platform, web("still here"), start=True)
    before = await api.tool(name)

    async def after(action: str, state: str) -> dict[str, Any]:
        ended = await api.done(await api.change(action, name))
        assert (ended["kind"], ended["state"]) == (action, "succeeded"), ended
        tool = await api.tool(name)
        assert tool["state"] == state
        return tool

    stopped = await after("stop", "stopped")
    assert not await platform.hand.running(before["id"])
    with pytest.raises(httpx.TransportError):
        await page(before["urls"][0])
    assert stopped["since"] > before["since"]
    started = await after("start", "running")
    assert started["urls"] == before["urls"]
    assert await page(started["urls"][0]) == "still here"
    container = (await platform.hand.inspect(before["id"]))["State"]["StartedAt"]
    await after("restart", "running")
    assert (await platform.hand.inspect(before["id"]))["State"]["StartedAt"] > container
    assert await page(before["urls"][0]) == "still here"
    # To start what runs and to stop what is stopped changes nothing, and is no failure.
    await after("start", "running")
    await after("stop", "stopped")
    await after("stop", "stopped")


@pytest.mark.parametrize("action", ["stop", "uninstall"])
async def test_what_cuts_an_install_short_has_what_it_asks_for(platform: Platform, api: Api, action: str) -> None:
    gate, name = fresh("gate"), fresh("short")
    install = await api.install(name, platform.forge.tool(gate, gated(platform.gate, gate)), start=True)
    await platform.gate.reached(gate)
    now = await getattr(api, action)(name, now=True)
    assert (await api.done(now))["state"] == "succeeded"
    assert (await api.done(install))["state"] == "cancelled"
    (line,) = await api.all_lines(f"/api/v1/operations/{now.operation}/log")
    assert line["text"] == f"{name} was not installed to its end: nothing is left to {action}."
    await platform.is_gone(install.tool)


# Uninstall.


async def test_uninstall_leaves_nothing_and_frees_the_name(platform: Platform, api: Api) -> None:
    name, first = await installed(platform, with_volume(), start=True)
    seen = await platform.hand.seen(first["tool"])
    assert all((seen.containers, seen.images, seen.networks, seen.volumes))
    assert platform.folder_of(first["tool"]).exists()
    ended = await api.done(await api.uninstall(name))
    assert (ended["state"], [step["name"] for step in ended["steps"]]) == ("succeeded", ["remove"])
    await platform.is_gone(first["tool"])
    with pytest.raises(Refusal, match="tool_not_found"):
        await api.tool(name)
    assert (await api.get(f"/api/v1/operations/{first['id']}"))["state"] == "succeeded"
    again = await api.done(await api.install(name, platform.forge.tool("web", web())))
    assert again["state"] == "succeeded"
    assert again["tool"] != first["tool"]
    assert (await api.tool(name))["id"] == again["tool"]


async def test_uninstall_keeps_the_data_unless_told_otherwise(platform: Platform, api: Api) -> None:
    name, ended = await installed(platform, with_volume(), start=True)
    kept = platform.folder_of(ended["tool"]) / "data" / "data" / "precious"
    kept.write_text("mine")
    uninstalled = await api.done(await api.uninstall(name, data=False))
    assert kept.read_text() == "mine"
    left = await platform.hand.seen(ended["tool"])
    lines = [line["text"] for line in await api.all_lines(f"/api/v1/operations/{uninstalled['id']}/log")]
    (said,) = (line for line in lines if line.startswith("Its data stays: "))
    assert f" {kept.parent.parent}, " in said
    (volume,) = left.volumes
    assert f"the volume {volume}. " in said
    assert not (left.containers)
    assert not (left.images)
    assert not left.networks
    assert len(left.volumes) == 1


async def test_a_tool_that_never_started_can_be_uninstalled(platform: Platform, api: Api) -> None:
    name, ended = await installed(platform, never_ready(), start=True)
    assert ended["state"] == "failed"
    assert (await api.done(await api.uninstall(name)))["state"] == "succeeded"
    await platform.is_gone(ended["tool"])
