"""A request that is not let in leaves nothing behind, and its answer says what would be right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from libs.contracts.source import slug
from libs.runtime.http.limits import MAX_BODY
from tests.gateway.doors import GIT_URL, Door, refused
from tests.gateway.ledger import Ledger

KNOWN = "git_url, name, ref, subdir, start"


async def asked(
    door: Door, ledger: Ledger, method: str, path: str, status: int, code: str, **request: Any
) -> dict[str, Any]:
    """The problem with which it was refused; nothing was stored."""
    before = await ledger.extent()
    document = refused(await door.client.request(method, f"/api/v1{path}", **request), status, code)
    assert await ledger.extent() == before
    return document


@pytest.mark.parametrize(
    ("body", "field", "allowed"),
    [
        ({}, "git_url", "it is required"),
        ({"git_url": GIT_URL, "branch": "main"}, "branch", f"no field of this name; there are {KNOWN}"),
        ({"git_url": GIT_URL, "data": {"a": [1]}}, "data", "no field of this name"),
        ({"git_url": None}, "git_url", "a text"),
        ({"git_url": 7}, "git_url", "a text"),
        ({"git_url": [GIT_URL]}, "git_url", "a text"),
        ({"git_url": {"url": GIT_URL}}, "git_url", "a text"),
        ({"git_url": GIT_URL, "name": 7}, "name", "a text"),
        ({"git_url": GIT_URL, "ref": False}, "ref", "a text"),
        ({"git_url": GIT_URL, "subdir": []}, "subdir", "a text"),
        ({"git_url": GIT_URL, "start": "true"}, "start", "true or false"),
        ({"git_url": GIT_URL, "start": 1}, "start", "true or false"),
        ({"git_url": GIT_URL, "start": None}, "start", "true or false"),
        ([], "body", "one object of JSON"),
        ("tool", "body", "one object of JSON"),
        (None, "body", "it is required"),
    ],
)
async def test_a_field_that_is_unknown_missing_or_of_the_wrong_type_is_named(
    shared: Door, shared_ledger: Ledger, body: object, field: str, allowed: str
):
    document = await asked(shared, shared_ledger, "POST", "/tools", 422, "invalid_request", json=body)
    (error,) = document["errors"]
    assert (error["in"], error["field"]) == ("body", field)
    assert allowed in error["allowed"]
    assert document["detail"].startswith(f"{field}: found ")


@pytest.mark.parametrize("path", ["build", "start", "stop", "restart", ""])
async def test_a_change_without_fields_takes_none(shared: Door, shared_ledger: Ledger, path: str):
    method, path = ("POST", f"/tools/any/{path}") if path else ("DELETE", "/tools/any")
    document = await asked(shared, shared_ledger, method, path, 422, "invalid_request", json={"now": True})
    assert document["errors"][0]["field"] == "now"


async def test_a_cancel_takes_no_fields(shared: Door, shared_ledger: Ledger):
    path = f"/operations/op-{'a' * 26}/cancel"
    await asked(shared, shared_ledger, "POST", path, 422, "invalid_request", json={"force": True})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/tools?colour=red"),
        ("GET", "/tools/any?wait=1"),
        ("GET", "/operations?kind=install"),
        ("GET", f"/operations/op-{'a' * 26}?follow=true"),
        ("POST", "/tools?start=true"),
        ("POST", "/tools/any/start?now=true"),
        ("POST", "/tools/any/stop?data=true"),
        ("POST", "/tools/any/restart?now=true"),
        ("POST", f"/operations/op-{'a' * 26}/cancel?now=true"),
        ("DELETE", "/tools/any?force=true"),
    ],
)
async def test_a_query_field_that_a_route_does_not_know_is_refused(
    shared: Door, shared_ledger: Ledger, method: str, path: str
):
    body = {"git_url": GIT_URL} if path.startswith("/tools?") and method == "POST" else None
    document = await asked(shared, shared_ledger, method, path, 422, "invalid_request", json=body)
    (error,) = document["errors"]
    assert (error["in"], error["field"]) == ("query", path.partition("?")[2].partition("=")[0])
    assert error["allowed"].startswith("no field of this name")


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("GET", "/tools?limit=0", "limit"),
        ("GET", "/tools?limit=501", "limit"),
        ("GET", "/tools?limit=many", "limit"),
        ("GET", "/tools?position=-1", "position"),
        ("GET", f"/tools?after={'x' * 501}", "after"),
        ("GET", "/tools/any?position=first", "position"),
        ("GET", "/operations?state=running-away", "state"),
        ("GET", f"/operations?tool={'x' * 65}", "tool"),
        ("GET", f"/operations/op-{'a' * 26}?wait=-1", "wait"),
        ("GET", f"/operations/op-{'a' * 26}?wait=61", "wait"),
        ("GET", f"/operations/op-{'a' * 26}?wait=nan", "wait"),
        ("GET", f"/operations/op-{'a' * 26}?wait=inf", "wait"),
        ("POST", "/tools/any/stop?now=maybe", "now"),
        ("POST", "/tools/any/stop?now=", "now"),
        ("DELETE", "/tools/any?data=2", "data"),
    ],
)
async def test_a_query_field_of_the_wrong_kind_is_named(
    shared: Door, shared_ledger: Ledger, method: str, path: str, field: str
):
    document = await asked(shared, shared_ledger, method, path, 422, "invalid_request")
    assert [(error["in"], error["field"]) for error in document["errors"]] == [("query", field)]


@pytest.mark.parametrize("position", ["-1", "first", "1.5"])
async def test_a_position_that_is_none_is_refused_in_the_header_too(shared: Door, shared_ledger: Ledger, position: str):
    headers = {"Machete-Position": position}
    document = await asked(shared, shared_ledger, "GET", "/tools", 422, "invalid_request", headers=headers)
    assert document["errors"][0]["in"] == "header"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"git_url": }',
        b'{"git_url": "https://git.example.org/a"',
        b"{'git_url': 'https://git.example.org/a'}",
        b"\xff\xfe",
        b"git_url=https://git.example.org/a",
        b"[" * 100_000,
        b'{"git_url": ' + b"9" * 10_000 + b"}",
    ],
    ids=lambda body: body[:16].decode(errors="replace"),
)
async def test_a_body_that_is_no_json_is_refused(shared: Door, shared_ledger: Ledger, body: bytes):
    before = await shared_ledger.extent()
    headers = {"content-type": "application/json"}
    response = await shared.client.post("/api/v1/tools", content=body, headers=headers)
    assert response.status_code == 400, response.text
    refused(response, 400, response.json()["code"])
    assert await shared_ledger.extent() == before


async def test_the_place_where_json_ends_to_be_json_is_named(shared: Door, shared_ledger: Ledger):
    body = b'{\n  "git_url": "a",\n  "name" "b"\n}'
    headers = {"content-type": "application/json"}
    document = await asked(
        shared, shared_ledger, "POST", "/tools", 400, "malformed_json", content=body, headers=headers
    )
    assert (document["line"], document["column"]) == (3, 10)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_a_number_that_is_none_is_refused_in_json_that_others_can_read(
    shared: Door, shared_ledger: Ledger, number: str
):
    before = await shared_ledger.extent()
    headers = {"content-type": "application/json"}
    response = await shared.client.post("/api/v1/tools", content=f'{{"git_url": {number}}}', headers=headers)
    assert response.status_code in (400, 422)
    json.loads(response.text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert await shared_ledger.extent() == before


async def test_half_a_character_is_refused(shared: Door, shared_ledger: Ledger):
    body = b'{"git_url": "https://git.example.org/\\ud800"}'
    headers = {"content-type": "application/json"}
    await asked(shared, shared_ledger, "POST", "/tools", 400, "malformed_text", content=body, headers=headers)


async def test_a_body_of_another_media_type_is_refused_with_the_right_one(shared: Door, shared_ledger: Ledger):
    body = json.dumps({"git_url": GIT_URL}).encode()
    headers = {"content-type": "text/plain"}
    document = await asked(
        shared, shared_ledger, "POST", "/tools", 422, "invalid_request", content=body, headers=headers
    )
    assert "application/json" in document["detail"]


async def test_a_body_above_the_limit_is_refused(shared: Door, shared_ledger: Ledger):
    body = json.dumps({"git_url": "https://git.example.org/" + "a" * MAX_BODY}).encode()
    document = await asked(shared, shared_ledger, "POST", "/tools", 413, "body_too_large", content=body)
    assert document["limit"] == MAX_BODY


@pytest.mark.parametrize("key", ["", "x" * 201, "schlüssel", "a\tb"])
async def test_a_key_that_is_none_is_refused(shared: Door, shared_ledger: Ledger, key: str):
    headers = [(b"Idempotency-Key", key.encode())]
    body = {"git_url": GIT_URL}
    await asked(shared, shared_ledger, "POST", "/tools", 422, "idempotency_key_invalid", json=body, headers=headers)


@pytest.mark.parametrize("key", ["x", "~" * 200, "a key with blanks", '"quoted"', "a/b:c.*>"])
async def test_any_printable_key_is_taken(shared: Door, shared_ledger: Ledger, key: str):
    name = slug(f"keyed {key}")
    first = await shared.install(key, name=name)
    again = await shared.install(key, name=name)
    assert first.status_code == again.status_code == 202
    assert first.json() == again.json()
    await shared_ledger.accepted_once(first.json()["operation"]["id"])


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/tools"), ("PATCH", "/tools/any"), ("GET", "/tools/any/start"), ("DELETE", "/operations/any")],
)
async def test_a_method_that_a_path_does_not_take_is_refused(
    shared: Door, shared_ledger: Ledger, method: str, path: str
):
    await asked(shared, shared_ledger, method, path, 405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/tools/", "/tools/any/pause", "/tools/any/start/", "/things", "//tools"])
async def test_there_is_nothing_at_any_other_path(shared: Door, shared_ledger: Ledger, path: str):
    await asked(shared, shared_ledger, "POST", path, 404, "not_found", json={"git_url": GIT_URL})
