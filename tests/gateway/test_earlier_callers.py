"""Earlier callers find what they know: every route, each field of its answers with its type, on a real platform."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from libs.contracts.tools import ToolState
from libs.runtime.bus.names import Names
from libs.runtime.service import front
from libs.runtime.version import VERSION
from services.gateway.app import build
from services.gateway.domain.earlier import SUCCESSOR
from services.gateway.domain.roles import NEEDED
from services.gateway.settings import Settings
from tests.gateway.doors import GIT_URL, Door, refused
from tests.gateway.ledger import Ledger
from tests.gateway.test_hostile_input import NAMES, named
from tests.support.platform import Platform, whole_platform
from tests.support.platform_checks import fresh
from tests.support.platform_tools import Files, talkative, web
from tests.support.platform_waiting import until

TEXT, NUMBER, LIST, OBJECT = (str,), (int,), (list,), (dict,)
MAYBE = (str, type(None))

TOOL = {
    "id": TEXT, "name": TEXT, "git_url": TEXT, "ref": MAYBE, "subdir": MAYBE, "commit": MAYBE, "version": MAYBE,
    "description": MAYBE, "category": MAYBE, "status": TEXT, "reason": MAYBE, "port": (int, type(None)), "url": MAYBE,
    "created_at": TEXT, "updated_at": TEXT, "manifest": (dict, type(None)),
}  # fmt: skip
STATUS = {
    "id": TEXT, "name": TEXT, "status": TEXT, "reason": MAYBE, "since": TEXT, "desired": TEXT, "url": MAYBE,
    "operation": MAYBE, "services": LIST,
}  # fmt: skip
HEALTH = {"id": TEXT, "name": TEXT, "healthy": (bool,), "status": TEXT, "reason": MAYBE, "services": LIST}
LOGS = {"id": TEXT, "name": TEXT, "logs": LIST}
SERVICE = {"name": TEXT, "state": TEXT, "health": TEXT, "exit_code": (int, type(None))}
ACCEPTED = {
    "id": TEXT, "name": TEXT, "status": TEXT, "message": TEXT, "operation": OBJECT, "position": NUMBER,
    "waiting_for": LIST,
}  # fmt: skip
OPERATION = {
    "id": TEXT, "kind": TEXT, "tool": TEXT, "tool_name": TEXT, "state": TEXT, "error": (dict, type(None)),
    "steps": LIST, "requested_by": TEXT, "cancel_requested": (bool,), "created_at": TEXT, "ended_at": MAYBE,
    "retry_of": MAYBE, "links": OBJECT,
}  # fmt: skip
DIAGNOSTICS = {"status": TEXT, "versions": OBJECT, "checks": OBJECT, "tools": OBJECT, "checked_at": TEXT}
MANIFEST = {
    "name": TEXT, "version": TEXT, "description": TEXT, "category": TEXT, "port": NUMBER, "health_check": TEXT,
    "environment": OBJECT, "volumes": LIST, "config": OBJECT, "ui": OBJECT,
}  # fmt: skip


def has_shape(body: Mapping[str, Any], shape: Mapping[str, tuple[type, ...]]) -> None:
    """These fields and no other, each of one of its types."""
    assert set(body) == set(shape)
    for field, types in shape.items():
        assert type(body[field]) in types, (field, body[field])


@pytest.fixture(scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    async with whole_platform(tmp_path_factory.mktemp("earlier")) as platform:
        yield platform
        assert platform.complaints() == []


@pytest.fixture
def client(platform: Platform) -> httpx.AsyncClient:
    return platform.api.client


async def read(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(f"/api{path}", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["deprecation"].startswith("@")
    return answer.json()


def was_accepted(answer: httpx.Response, kind: str) -> dict[str, Any]:
    """The body of a 202, whose every field is as it should be."""
    assert answer.status_code == 202, answer.text
    body = answer.json()
    has_shape(body, ACCEPTED)
    has_shape(body["operation"], OPERATION)
    operation = body["operation"]
    assert (operation["kind"], operation["tool"], operation["tool_name"]) == (kind, body["id"], body["name"])
    assert body["status"] == operation["state"]
    assert operation["id"] in body["message"]
    assert answer.headers["location"] == operation["links"]["self"]
    assert answer.headers["machete-position"] == str(body["position"])
    return body


async def succeeds(platform: Platform, answer: httpx.Response, kind: str) -> dict[str, Any]:
    body = was_accepted(answer, kind)
    ended = await platform.api.get(f"/api/v1/operations/{body['operation']['id']}", wait=50, position=body["position"])
    assert ended["state"] == "succeeded", ended
    return body


async def new_tool(platform: Platform, files: Files | None = None, *, start: bool = False) -> dict[str, Any]:
    """As earlier callers install one; with `start`, started in a second step."""
    client, name = platform.api.client, fresh("tool")
    body = {"git_url": platform.forge.tool(fresh("repo"), files or web()), "name": name}
    await succeeds(platform, await client.post("/api/tools/install", json=body), "install")
    if start:
        await succeeds(platform, await client.post(f"/api/tools/{name}/start"), "start")
    return await read(client, f"/tools/{name}")


async def test_the_list_is_an_array_of_whole_tools(platform: Platform, client: httpx.AsyncClient):
    tool = await new_tool(platform, start=True)
    tools = await read(client, "/tools")
    assert type(tools) is list
    for each in tools:
        has_shape(each, TOOL)
    assert [each["name"] for each in tools] == sorted(each["name"] for each in tools)
    assert [each for each in tools if each["id"] == tool["id"]] == [tool]


async def test_a_tool_is_shown_with_all_that_is_known_of_it(platform: Platform, client: httpx.AsyncClient):
    tool = await new_tool(platform, web("shown", category="monitoring"), start=True)
    has_shape(tool, TOOL)
    new = await platform.api.tool(tool["name"])
    assert (tool["id"], tool["commit"], tool["url"]) == (new["id"], new["release"]["commit"], new["urls"][0])
    assert (tool["status"], tool["reason"], tool["version"]) == ("running", None, "1.2.3")
    assert (tool["description"], tool["category"]) == ("a tool for tests", "monitoring")
    assert tool["git_url"] == new["source"]["git_url"]
    assert f":{tool['port']}/" in tool["url"]
    assert tool["created_at"] < tool["updated_at"]
    has_shape({field: tool["manifest"][field] for field in MANIFEST}, MANIFEST)
    assert tool["manifest"]["health_check"] == "/"


async def test_a_tool_is_found_by_its_id_and_by_its_name(platform: Platform, client: httpx.AsyncClient):
    tool = await new_tool(platform, start=True)
    for path in ("", "/status", "/health", "/logs"):
        assert await read(client, f"/tools/{tool['id']}{path}") == await read(client, f"/tools/{tool['name']}{path}")
    for action in ("restart", "stop", "build", "start"):
        body = await succeeds(platform, await client.post(f"/api/tools/{tool['id']}/{action}"), action)
        assert (body["id"], body["name"]) == (tool["id"], tool["name"])
    assert (await client.get("/api/tools/nothing")).json()["code"] == "tool_not_found"


async def test_who_installs_a_tool_finds_it_at_once(platform: Platform, client: httpx.AsyncClient):
    name = fresh("new")
    body = {"git_url": platform.forge.tool(fresh("repo"), web()), "name": name}
    answer = was_accepted(await client.post("/api/tools/install", json=body), "install")
    tool = await read(client, f"/tools/{name}")
    has_shape(tool, TOOL)
    assert (tool["id"], tool["git_url"]) == (answer["id"], body["git_url"])
    has_shape(await read(client, f"/tools/{answer['id']}/status"), STATUS)
    assert [each["id"] for each in await read(client, "/tools") if each["name"] == name] == [answer["id"]]


async def test_the_old_routes_carry_a_tool_through_its_life(platform: Platform, client: httpx.AsyncClient):
    tool = await new_tool(platform)
    own = f"/api/tools/{tool['name']}"
    for action, state in (("build", "stopped"), ("start", "running"), ("restart", "running"), ("stop", "stopped")):
        await succeeds(platform, await client.post(f"{own}/{action}"), action)
        status = await read(client, f"/tools/{tool['name']}/status")
        has_shape(status, STATUS)
        assert (status["id"], status["status"], status["operation"]) == (tool["id"], state, None)
        for service in status["services"]:
            has_shape(service, SERVICE)
    await succeeds(platform, await client.delete(own), "uninstall")
    refused(await client.get(own), 404, "tool_not_found")
    assert tool["id"] not in [each["id"] for each in await read(client, "/tools")]


async def test_health_is_true_while_the_tool_runs_and_false_while_it_does_not(
    platform: Platform, client: httpx.AsyncClient
):
    tool = await new_tool(platform)
    stopped = await read(client, f"/tools/{tool['id']}/health")
    has_shape(stopped, HEALTH)
    assert (stopped["healthy"], stopped["status"]) == (False, "stopped")
    await succeeds(platform, await client.post(f"/api/tools/{tool['id']}/start"), "start")
    running = await read(client, f"/tools/{tool['id']}/health")
    has_shape(running, HEALTH)
    has_shape(running["services"][0], SERVICE)
    assert (running["healthy"], running["status"], running["reason"]) == (True, "running", None)


async def test_logs_are_the_last_lines_as_text(platform: Platform, client: httpx.AsyncClient):
    tool = await new_tool(platform, talkative(150), start=True)

    async def all_there() -> bool:
        return "line 149" in (await read(client, f"/tools/{tool['id']}/logs"))["logs"]

    await until(all_there, "all lines were carried")
    logs = await read(client, f"/tools/{tool['id']}/logs")
    has_shape(logs, LOGS)
    assert logs["logs"] == [f"line {number}" for number in range(50, 150)]
    assert (await read(client, f"/tools/{tool['id']}/logs", lines=2))["logs"] == ["line 148", "line 149"]
    assert (await read(client, f"/tools/{tool['id']}/logs", lines=0))["logs"] == []
    assert len((await read(client, f"/tools/{tool['id']}/logs", lines=1000))["logs"]) == 150
    document = refused(
        await client.get(f"/api/tools/{tool['id']}/logs", params={"lines": 1001}), 422, "invalid_request"
    )
    assert document["errors"][0]["field"] == "lines"


async def test_logs_of_very_long_lines_are_as_many_as_fit_in_an_answer(platform: Platform, client: httpx.AsyncClient):
    """200 lines of 10,000 characters are more than a message takes: the last of them are shown."""
    script = "i=0; while [ $i -lt 200 ]; do printf 'line %s %010000d\\n' $i 0; i=$((i+1)); done; echo the end"
    files = web()
    files["Dockerfile"] += f'\nCMD ["sh", "-c", {json.dumps(f"{script}; httpd -f -p 8080 -h /www")}]'.encode()
    tool = await new_tool(platform, files, start=True)

    async def all_there() -> bool:
        return (await read(client, f"/tools/{tool['id']}/logs", lines=1))["logs"] == ["the end"]

    await until(all_there, "all lines were carried")
    logs = (await read(client, f"/tools/{tool['id']}/logs", lines=1000))["logs"]
    assert 10 < len(logs) < 200
    assert [line.split()[1] for line in logs[:-1]] == [str(number) for number in range(201 - len(logs), 200)]


async def test_what_a_manifest_has_under_the_name_of_a_secret_is_not_handed_on(
    platform: Platform, client: httpx.AsyncClient
):
    files = web(environment={"DB_PASSWORD": "hunter2", "MODE": "calm", "AT": "https://me:hunter2@db.example.org/x"})
    tool = await new_tool(platform, files)
    assert tool["manifest"]["environment"]["MODE"] == "calm"
    assert tool["manifest"]["environment"]["DB_PASSWORD"] == "***"
    for path in ("/tools", f"/tools/{tool['id']}"):
        assert "hunter2" not in json.dumps(await read(client, path))


async def test_diagnostics_tell_versions_health_and_how_many_tools_are_in_which_state(
    platform: Platform, client: httpx.AsyncClient
):
    await new_tool(platform)
    found = await read(client, "/diagnostics")
    has_shape(found, DIAGNOSTICS)
    assert found["status"] == "ok"
    assert set(found["versions"]) == {"machete", "nats", "engine"}
    assert found["versions"]["machete"] == VERSION
    assert all(version[0].isdigit() for version in found["versions"].values())
    assert set(found["checks"]) == {"nats", "engine", "database"}
    for check in found["checks"].values():
        has_shape(check, {"healthy": (bool,), "detail": TEXT})
        assert check["healthy"]
    assert set(found["tools"]["by_status"]) == set(ToolState)
    assert found["tools"]["total"] == sum(found["tools"]["by_status"].values()) == len(await read(client, "/tools"))
    assert found["tools"]["by_status"]["stopped"] >= 1
    secrets = [platform.api.token, *json.loads((platform.data / "nats" / "credentials.json").read_text()).values()]
    assert not [secret for secret in secrets if secret in json.dumps(found)]


async def test_diagnostics_answer_although_nobody_else_does(shared: Door):
    """No status service, no orchestrator: what is not known is said to be so."""
    found = (await shared.client.get("/api/diagnostics")).json()
    assert (found["status"], found["tools"], found["versions"]["engine"]) == ("degraded", None, None)
    assert {name: check["healthy"] for name, check in found["checks"].items()} == {
        "nats": True,
        "engine": False,
        "database": False,
    }


# What can be changed.


async def test_patch_starts_and_stops(platform: Platform, client: httpx.AsyncClient):
    tool = await new_tool(platform)
    own = f"/api/tools/{tool['id']}"
    await succeeds(platform, await client.patch(own, json={"status": "running"}), "start")
    assert (await read(client, f"/tools/{tool['id']}"))["status"] == "running"
    await succeeds(platform, await client.patch(own, json={"status": "stopped"}), "stop")
    assert (await read(client, f"/tools/{tool['id']}"))["status"] == "stopped"


async def test_patch_with_nothing_to_change_answers_with_the_tool(platform: Platform, client: httpx.AsyncClient):
    tool = await new_tool(platform)
    own = f"/api/tools/{tool['name']}"
    for body in (None, {}, {"name": None, "status": None}, {"name": tool["name"], "git_url": tool["git_url"]}):
        answer = await client.patch(own, json=body)
        assert (answer.status_code, answer.json()) == (200, tool), body
    refused(await client.patch("/api/tools/nothing", json={}), 404, "tool_not_found")


async def test_a_tool_that_is_sent_back_whole_is_asked_for_its_status_alone(
    platform: Platform, client: httpx.AsyncClient
):
    tool = await new_tool(platform)
    answer = await client.patch(f"/api/tools/{tool['id']}", json={**tool, "status": "running"})
    await succeeds(platform, answer, "start")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "other"}, "name"),
        ({"status": "running", "description": "other"}, "description"),
        ({"git_url": "https://git.example.org/other.git"}, "git_url"),
        ({"colour": "red"}, "colour"),
        ({"status": "paused"}, "status"),
        ({"status": True}, "status"),
        ({"status": ["running"]}, "status"),
        ({"manifest": {}}, "manifest"),
    ],
    ids=str,
)
async def test_patch_of_anything_else_names_the_field_and_what_can_be_changed(
    platform: Platform, client: httpx.AsyncClient, body: dict[str, Any], field: str
):
    tool = (await read(client, "/tools") or [await new_tool(platform)])[0]
    document = refused(await client.patch(f"/api/tools/{tool['id']}", json=body), 422, "not_changeable")
    assert document["field"] == field
    assert "status, to running or stopped" in document["detail"]
    assert (await read(client, f"/tools/{tool['id']}")) == tool


@pytest.mark.parametrize("body", [[], ["status"], "running", 1, True])
async def test_patch_takes_an_object(shared: Door, body: object):
    refused(await shared.client.patch("/api/tools/lathe", json=body), 422, "invalid_request")


# The same door.


async def test_the_same_key_is_the_same_operation_however_the_tool_is_called(
    platform: Platform, client: httpx.AsyncClient
):
    tool = await new_tool(platform)
    key = {"Idempotency-Key": fresh("key")}
    paths = (
        f"/api/tools/{tool['id']}/start",
        f"/api/tools/{tool['name']}/start",
        f"/api/v1/tools/{tool['name']}/start",
    )
    answers = [await client.post(path, headers=key) for path in paths]
    assert len({answer.json()["operation"]["id"] for answer in answers}) == 1
    again = await client.patch(f"/api/tools/{tool['id']}", json={"status": "running"}, headers=key)
    assert again.json()["operation"]["id"] == answers[0].json()["operation"]["id"]
    refused(await client.post(f"/api/tools/{tool['id']}/stop", headers=key), 422, "idempotency_key_reused")


async def test_the_id_of_a_tool_that_is_gone_is_not_the_next_one_of_its_name(
    platform: Platform, client: httpx.AsyncClient
):
    old = await new_tool(platform)
    key = {"Idempotency-Key": fresh("key")}
    gone = await succeeds(platform, await client.delete(f"/api/tools/{old['id']}", headers=key), "uninstall")

    async def free() -> bool:
        return (await Names(platform.bus).find(old["name"])).reservation is None

    await until(free, "the name is free")
    body = {"git_url": old["git_url"], "name": old["name"]}
    new = await succeeds(platform, await client.post("/api/tools/install", json=body), "install")
    assert new["id"] != old["id"]
    for action in ("build", "start", "stop", "restart"):
        refused(await client.post(f"/api/tools/{old['id']}/{action}"), 404, "tool_not_found")
    refused(await client.delete(f"/api/tools/{old['id']}"), 404, "tool_not_found")
    refused(await client.get(f"/api/tools/{old['id']}"), 404, "tool_not_found")
    # What is repeated is found all the same, and does nothing to the new one.
    again = was_accepted(await client.delete(f"/api/tools/{old['id']}", headers=key), "uninstall")
    assert (again["operation"]["id"], again["status"]) == (gone["operation"]["id"], "succeeded")
    assert (await read(client, f"/tools/{new['id']}"))["status"] == "stopped"


async def test_a_tool_whose_name_looks_like_an_id_is_called_by_it(platform: Platform, client: httpx.AsyncClient):
    name = f"{fresh('like')[:10]}-abcdef"
    body = {"git_url": platform.forge.tool(fresh("repo"), web()), "name": name}
    installed = await succeeds(platform, await client.post("/api/tools/install", json=body), "install")
    for called in (name, installed["id"]):
        started = await succeeds(platform, await client.post(f"/api/tools/{called}/start"), "start")
        assert started["id"] == installed["id"]


@pytest.mark.parametrize("name", NAMES, ids=named)
async def test_a_hostile_id_is_refused_in_every_path(shared: Door, shared_ledger: Ledger, name: str):
    before = await shared_ledger.extent()
    hidden = "".join(f"%{byte:02X}" for byte in name.encode())
    for method, path in SUCCESSOR:
        if "{id}" not in path:
            continue
        response = await shared.client.request(method, f"{path.replace('{id}', hidden)}")
        # No status service is there: had a question gone on to it, this would be 503.
        assert response.status_code in (404, 405, 422), (method, path, response.text)
        refused(response, response.status_code, response.json()["code"])
    assert await shared_ledger.extent() == before


async def test_an_install_is_refused_as_on_the_new_route(shared: Door, shared_ledger: Ledger):
    before = await shared_ledger.extent()
    secret = "https://me:hunter2@git.example.org/tool.git"
    bodies = ({}, {"git_url": secret}, {"git_url": GIT_URL, "branch": "main"}, {"git_url": GIT_URL, "name": "a/b"})
    for body in bodies:
        old, new = [await shared.client.post(path, json=body) for path in ("/api/tools/install", "/api/v1/tools")]
        assert (old.status_code, old.json()) == (new.status_code, new.json())
        assert "hunter2" not in old.text
    assert await shared_ledger.extent() == before


# Out of date.


def routes() -> dict[tuple[str, str], APIRoute]:
    app = front([build(Settings.model_validate({"data": "nowhere"}))])
    found = [route for route in app.routes if isinstance(route, APIRoute)]
    return {(method, route.path): route for route in found for method in route.methods or ()}


@pytest.mark.parametrize(("method", "path"), sorted(SUCCESSOR))
async def test_every_answer_says_that_the_route_is_out_of_date_and_what_to_use(shared: Door, method: str, path: str):
    answer = await shared.client.request(method, path.replace("{id}", "lathe"), json={})
    assert answer.headers.get_list("deprecation") == ["@1795219200"]
    successor = SUCCESSOR[method, path].replace("{id}", "lathe")
    assert answer.headers.get_list("link") == [f'<{successor}>; rel="successor-version"']


def test_the_documentation_says_the_same_and_the_successors_are_there():
    document = front([build(Settings.model_validate({"data": "nowhere"}))]).openapi()
    old = {route for route in NEEDED if not route[1].startswith("/api/v1")}
    assert old == set(SUCCESSOR)
    # The logs are the status service's.
    paths = {path.replace("{name}", "{id}") for _, path in routes()} | {"/api/v1/tools/{id}/logs"}
    for (method, path), successor in SUCCESSOR.items():
        shown = document["paths"][path][method.lower()]
        assert shown["deprecated"] is True
        assert f"`{successor}`" in shown["description"]
        assert successor in paths
    new = [
        shown for path, methods in document["paths"].items() if path.startswith("/api/v1") for shown in methods.values()
    ]
    assert not [shown for shown in new if shown.get("deprecated")]
