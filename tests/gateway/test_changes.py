"""A change is answered with 202, the operation it became, and where to look for what comes of it."""

from __future__ import annotations

from typing import Any

import pytest

from libs.contracts.operations import CancelRequested, OperationAccepted
from libs.contracts.tools import InstallTool, StopTool, UninstallTool
from tests.gateway.doors import GIT_URL, Door, accepted, on_both_servers, operation, refused
from tests.gateway.ledger import Ledger

OPERATION = {
    "id", "kind", "tool", "tool_name", "state", "error", "steps", "requested_by", "cancel_requested",
    "created_at", "ended_at", "retry_of", "links",
}  # fmt: skip
CHANGES = ("build", "start", "stop", "restart", "uninstall")


async def change(door: Door, action: str, name: str, key: str | None = None, **params: Any):
    if action == "uninstall":
        return await door.uninstall(name, key, **params)
    return await door.post(f"/tools/{name}/{action}", key=key, **params)


@on_both_servers
async def test_an_install_is_answered_with_its_operation_its_place_and_its_links(gateway: Door, ledger: Ledger):
    response = await gateway.install(name="lathe", ref="v1.2", subdir="tools/lathe/", start=True)
    body = accepted(response)
    shown = body["operation"]
    assert set(body) == {"operation", "position", "waiting_for"}
    assert set(shown) == OPERATION
    assert (shown["kind"], shown["tool_name"], shown["state"]) == ("install", "lathe", "accepted")
    assert (shown["requested_by"], shown["error"], shown["steps"], shown["ended_at"]) == ("user:admin", None, [], None)
    assert shown["cancel_requested"] is False
    assert body["position"] == await ledger.sequence(shown["id"], OperationAccepted)
    assert response.headers["machete-position"] == str(body["position"])
    own = f"/api/v1/operations/{shown['id']}"
    assert shown["links"] == {
        "self": f"{own}?position={body['position']}",
        "log": f"{own}/log",
        "cancel": f"{own}/cancel",
        "live": f"/api/v1/live?topic=operation:{shown['id']}",
        "tool": f"/api/v1/tools/lathe?position={body['position']}",
    }
    command = await ledger.accepted_once(shown["id"])
    assert isinstance(command, InstallTool)
    assert command.source.model_dump() == {"git_url": GIT_URL, "ref": "v1.2", "subdir": "tools/lathe"}
    assert (command.tool, command.start) == (shown["tool"], True)


@pytest.mark.parametrize(
    ("git_url", "name"),
    [
        ("https://git.example.org/tools/Hello_Web.git", "hello-web"),
        ("https://git.example.org/tools/drill/", "drill"),
        ("git@git.example.org:tools/press.git", "press"),
        ("ssh://git@git.example.org:2222/tools/saw", "saw"),
    ],
)
async def test_a_tool_is_named_after_the_last_part_of_its_address(
    shared: Door, shared_ledger: Ledger, git_url: str, name: str
):
    shown = accepted(await shared.install(git_url=git_url))["operation"]
    assert shown["tool_name"] == name
    assert shown["tool"].startswith(f"{name}-")
    reservation = await shared_ledger.holder(name)
    assert reservation is not None
    assert (reservation.tool, reservation.operation) == (shown["tool"], shown["id"])


@pytest.mark.parametrize("action", CHANGES)
async def test_each_change_of_a_tool_becomes_one_command_under_its_id(shared: Door, shared_ledger: Ledger, action: str):
    name = f"of-{action}"
    installed = accepted(await shared.install(name=name))["operation"]
    body = accepted(await change(shared, action, name))
    shown = body["operation"]
    assert set(shown) == OPERATION
    assert (shown["kind"], shown["tool"], shown["tool_name"]) == (action, installed["tool"], name)
    assert body["waiting_for"] == [installed["id"]]
    command = await shared_ledger.accepted_once(shown["id"])
    assert (command.action, command.tool) == (action, installed["tool"])
    assert not command.overtakes


async def test_now_and_data_stand_in_the_command_when_asked_for(shared: Door, shared_ledger: Ledger):
    await shared.install(name="now")
    stop = await shared_ledger.accepted_once(operation(await change(shared, "stop", "now", now="true")))
    gone = await shared_ledger.accepted_once(operation(await change(shared, "uninstall", "now", now="1", data="true")))
    kept = await shared_ledger.accepted_once(operation(await change(shared, "uninstall", "now", now="false")))
    assert isinstance(stop, StopTool)
    assert stop.now
    assert isinstance(gone, UninstallTool)
    assert (gone.now, gone.data) == (True, True)
    assert isinstance(kept, UninstallTool)
    assert (kept.now, kept.data) == (False, False)


async def test_an_empty_object_is_as_good_as_no_body(shared: Door):
    await shared.install(name="bodiless")
    for action in ("build", "start", "stop", "restart"):
        accepted(await shared.post(f"/tools/bodiless/{action}", {}))
    accepted(await shared.client.request("DELETE", "/api/v1/tools/bodiless", json={}))


async def test_without_a_key_two_requests_are_two_operations(shared: Door, shared_ledger: Ledger):
    await shared.install(name="twice")
    first, second = [operation(await change(shared, "start", "twice")) for _ in range(2)]
    assert first != second
    await shared_ledger.accepted_once(first)
    await shared_ledger.accepted_once(second)


@pytest.mark.parametrize("action", CHANGES)
async def test_a_change_of_a_tool_that_is_not_there_is_refused_by_its_name(
    shared: Door, shared_ledger: Ledger, action: str
):
    before = await shared_ledger.extent()
    document = refused(await change(shared, action, "nobody"), 404, "tool_not_found")
    assert document["name"] == "nobody"
    assert await shared_ledger.extent() == before


async def test_a_name_that_is_taken_is_refused_with_its_holder(shared: Door, shared_ledger: Ledger):
    holder = accepted(await shared.install(name="taken"))["operation"]
    before = await shared_ledger.extent()
    document = refused(await shared.install(name="taken"), 409, "name_taken")
    assert (document["tool"], document["operation"]) == (holder["tool"], holder["id"])
    assert await shared_ledger.extent() == before


async def test_a_202_names_what_comes_first_in_its_order(shared: Door):
    first = operation(await shared.install(name="queue"))
    second = operation(await change(shared, "start", "queue"))
    other = accepted(await shared.install(name="elsewhere"))
    third = accepted(await change(shared, "stop", "queue"))
    assert third["waiting_for"] == [first, second]
    assert other["waiting_for"] == []


async def test_of_many_that_come_first_the_oldest_are_named(shared: Door):
    await shared.install(name="crowd")
    ahead = [operation(await change(shared, "start", "crowd")) for _ in range(24)]
    last = accepted(await change(shared, "stop", "crowd"))
    assert last["waiting_for"][1:] == ahead[:19]


@on_both_servers
async def test_positions_grow_with_each_acceptance(gateway: Door, ledger: Ledger):
    bodies = [accepted(await gateway.install(name=f"tool-{number}")) for number in range(5)]
    positions = [body["position"] for body in bodies]
    assert positions == sorted(set(positions))
    for body in bodies:
        assert await ledger.sequence(body["operation"]["id"], OperationAccepted) == body["position"]


async def test_a_cancel_is_answered_like_any_other_change(shared: Door, shared_ledger: Ledger):
    id = operation(await shared.install(name="cancelled"))
    response = await shared.post(f"/operations/{id}/cancel", {})
    body = accepted(response)
    assert set(body["operation"]) == OPERATION
    assert (body["operation"]["id"], body["operation"]["state"]) == (id, "accepted")
    assert body["operation"]["cancel_requested"] is True
    assert body["position"] == await shared_ledger.sequence(id, CancelRequested)
    assert response.headers["machete-position"] == str(body["position"])
