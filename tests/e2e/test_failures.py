"""What users are told when something goes wrong, and that nothing half-made stays."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.platform import Platform
from tests.support.platform_api import Accepted, Api, Refusal
from tests.support.platform_checks import fresh
from tests.support.platform_tools import Files, exits, fails_to_build, never_ready, web


async def failed(platform: Platform, files: Files, **body: Any) -> tuple[Accepted, dict[str, Any]]:
    install = await platform.api.install(fresh("bad"), platform.forge.tool(fresh("repo"), files), **body)
    ended = await platform.api.done(install)
    assert ended["state"] == "failed", ended
    return install, ended


async def test_a_build_that_fails_says_why_and_leaves_nothing(platform: Platform, api: Api) -> None:
    install, ended = await failed(platform, fails_to_build(), start=True)
    error = ended["error"]
    assert error["code"] == "build_failed"
    assert "the reason is" in error["message"]
    assert any("the reason is" in line for line in error["detail"]["log"])
    assert [(step["name"], step["state"]) for step in ended["steps"]][:2] == [
        ("fetch", "succeeded"),
        ("build", "failed"),
    ]
    logged = await api.all_lines(f"/api/v1/operations/{install.operation}/log")
    assert any("the reason is" in line["text"] for line in logged)
    await platform.is_gone(install.tool)
    with pytest.raises(Refusal, match="tool_not_found"):
        await api.tool(name_of(install))
    again = await api.install(name_of(install), platform.forge.tool("web", web()))
    assert (await api.done(again))["state"] == "succeeded"


async def test_a_repository_that_is_not_there_fails_the_install_and_names_it(platform: Platform, api: Api) -> None:
    install = await api.install(fresh("nowhere"), platform.forge.url("no-such-repository"))
    ended = await api.done(install)
    assert ended["state"] == "failed"
    assert [step["name"] for step in ended["steps"]] == ["fetch"]
    assert "no-such-repository" in str(ended["error"])
    with pytest.raises(Refusal, match="tool_not_found"):
        await api.tool(name_of(install))


async def test_a_manifest_that_is_wrong_fails_the_install_with_file_line_and_rule(platform: Platform) -> None:
    files = {**web(), "machete.yml": b"version: 1.0.0\nmachete:\n  port: eighty\n"}
    _, ended = await failed(platform, files)
    assert ended["error"]["code"] == "manifest_invalid"
    assert ended["error"]["message"].startswith("machete.yml:3: machete.port: ")


@pytest.mark.parametrize(
    ("files", "code", "told"),
    [(exits(3), "exited", "exit code 3"), (never_ready(), "not_ready", "")],
    ids=["exits at once", "is never ready"],
)
async def test_a_tool_that_does_not_come_up_stays_installed_in_state_failed(
    platform: Platform, api: Api, files: Files, code: str, told: str
) -> None:
    install, ended = await failed(platform, files, start=True)
    assert ended["error"]["code"] == code
    assert told in ended["error"]["message"]
    printed = "this is why" if code == "exited" else "here but silent"
    assert printed in ended["error"]["detail"]["log"]
    assert [(step["name"], step["state"]) for step in ended["steps"]][-1] == ("start", "failed")
    tool = await api.tool(name_of(install))
    assert tool["state"] == "failed"
    assert tool["reason"] == ended["error"]["message"]
    assert not await platform.hand.running(install.tool)


@pytest.mark.parametrize(
    "wrong",
    [
        {"git_url": "https://user:secret@git.example.org/a.git"},
        {"git_url": "ext::sh -c id"},
        {"git_url": "file:///etc"},
        {"git_url": "https://git.example.org/a.git", "name": "../x"},
        {"git_url": "https://git.example.org/a.git", "ref": "--upload-pack=x"},
        {"git_url": "https://git.example.org/a.git", "subdir": "../.."},
        {"git_url": "https://git.example.org/a.git", "colour": "red"},
        {},
    ],
    ids=str,
)
async def test_what_cannot_be_is_refused_before_anything_is_stored(api: Api, wrong: dict[str, str]) -> None:
    answer = await api.client.post("/api/v1/tools", json=wrong)
    assert answer.status_code == 422
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "code"} <= set(problem)
    assert "secret" not in answer.text


async def test_nobody_gets_in_without_the_token_and_health_tells_everybody(api: Api) -> None:
    bare = {"Authorization": ""}
    for path in ("/api/v1/tools", "/api/v1/operations", "/metrics", "/api/v1/nothing"):
        assert (await api.client.get(path, headers=bare)).status_code == 401
    assert (await api.client.get("/api/health", headers=bare)).json()["ready"]


def name_of(accepted: Accepted) -> str:
    return accepted.body["operation"]["tool_name"]
