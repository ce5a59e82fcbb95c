"""Whatever goes wrong over HTTP, it is a problem document that says what and how to mend it."""

import json
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

import httpx
import pytest
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from libs.contracts import problems
from libs.runtime.http.limits import MAX_BODY
from libs.runtime.http.problems import Problem
from tests.support.served import Served, served, service

CANARY = "canary-77aa1b"


class Install(BaseModel):
    model_config = ConfigDict(extra="forbid")

    git_url: str
    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=40)] | None = None
    kind: Literal["container", "stack"] = "container"
    token: int = 0


def routes() -> APIRouter:
    router = APIRouter()

    @router.post("/api/v1/tools", status_code=202)
    async def install(body: Install) -> dict[str, str]:
        return {"git_url": body.git_url}

    @router.get("/api/v1/tools")
    async def tools(wait: Annotated[float, Query(ge=0, le=60)] = 0) -> list[str]:
        return []

    @router.get("/api/v1/tools/{name}")
    async def tool(name: str) -> None:
        raise Problem(404, "unknown_tool", "No such tool", f"there is no tool {name!r}", known=["a"])

    @router.get("/api/v1/contract")
    async def contract() -> None:
        raise Problem.of(problems.Problem(code="name_taken", message="it is taken", detail={"by": "b"}), 409)

    @router.get("/api/v1/broken")
    async def broken() -> None:
        raise RuntimeError(f"{CANARY} in a place nobody expected")

    return router


@pytest.fixture(scope="module")
async def front(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Served]:
    async with served(service(routes=routes()), data=tmp_path_factory.mktemp("data")) as running:
        yield running


def document(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, f"/problems/{code}")
    assert problem["title"]
    assert problem["detail"]
    return problem


async def test_a_problem_raised_by_a_service_is_told_with_all_it_says(front: Served) -> None:
    problem = document(await front.client.get("/api/v1/tools/nextcloud"), 404, "unknown_tool")
    assert (problem["detail"], problem["known"]) == ("there is no tool 'nextcloud'", ["a"])


async def test_a_problem_from_the_bus_keeps_its_code_and_detail(front: Served) -> None:
    problem = document(await front.client.get("/api/v1/contract"), 409, "name_taken")
    assert (problem["detail"], problem["context"]) == ("it is taken", {"by": "b"})


@pytest.mark.parametrize(
    ("body", "field", "found", "allowed"),
    [
        ({}, "git_url", None, "a value: it is required"),
        ({"git_url": 5}, "git_url", 5, "a text"),
        ({"git_url": None}, "git_url", "null", "a text"),
        ({"git_url": ["a"]}, "git_url", "a list", "a text"),
        ({"git_url": "u", "kind": "vm"}, "kind", "vm", "'container' or 'stack'"),
        ({"git_url": "u", "name": "a;id"}, "name", "a;id", "a text that matches ^[a-z0-9-]+$"),
        (
            {"git_url": "u", "nmae": "x"},
            "nmae",
            "x",
            "no field of this name; there are git_url, name, kind, token",
        ),
        ({"git_url": "u", "token": CANARY}, "token", "***", "a whole number"),
        ({"git_url": "u", "kind": f"https://u:{CANARY}@h"}, "kind", "https://***@h", "'container' or 'stack'"),
        ({"git_url": "u", "kind": "\x1b[31m"}, "kind", "\\x1b[31m", "'container' or 'stack'"),
    ],
)
async def test_a_wrong_field_is_named_with_what_was_found_and_what_is_allowed(
    front: Served, body: dict[str, Any], field: str, found: Any, allowed: str
) -> None:
    problem = document(await front.client.post("/api/v1/tools", json=body), 422, "invalid_request")
    assert problem["errors"] == [{"in": "body", "field": field, "found": found, "allowed": allowed}]
    assert field in problem["detail"]
    assert CANARY not in json.dumps(problem)


async def test_a_wrong_parameter_is_named_like_a_field(front: Served) -> None:
    problem = document(await front.client.get("/api/v1/tools?wait=90"), 422, "invalid_request")
    assert problem["errors"] == [{"in": "query", "field": "wait", "found": "90", "allowed": "60 or less"}]


async def test_a_long_value_is_not_sent_back_whole(front: Served) -> None:
    body = {"git_url": "u", "kind": "x" * 100_000}
    response = await front.client.post("/api/v1/tools", json=body)
    assert len(response.content) < 2000


@pytest.mark.parametrize(
    ("body", "place"),
    [(b"{", (1, 2)), (b'{"git_url": "u",\n  "name": }', (2, 11)), (b"{'git_url': 1}", (1, 2)), (b"nonsense", (1, 1))],
)
async def test_malformed_json_is_told_with_its_place(front: Served, body: bytes, place: tuple[int, int]) -> None:
    response = await front.client.post("/api/v1/tools", content=body, headers={"content-type": "application/json"})
    problem = document(response, 400, "malformed_json")
    assert (problem["line"], problem["column"]) == place


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\xff\xfe{}", "malformed_json"),
        (b'{"git_url": "\xc3("}', "bad_request"),
        (b'{"git_url": "\\ud800"}', "malformed_text"),
        (b'{"\\udc00": "\\u00e4"}', "malformed_text"),
    ],
)
async def test_text_that_is_no_unicode_is_the_callers_mistake(front: Served, body: bytes, code: str) -> None:
    response = await front.client.post("/api/v1/tools", content=body, headers={"content-type": "application/json"})
    document(response, 400, code)


async def test_escaped_characters_are_read_as_what_they_are(front: Served) -> None:
    content = b'{"git_url": "\\ud83d\\udd27 gr\\u00f6\\u00dfe"}'
    response = await front.client.post("/api/v1/tools", content=content, headers={"content-type": "application/json"})
    assert response.json() == {"git_url": "🔧 größe"}


async def test_json_nested_without_end_is_the_callers_mistake(front: Served) -> None:
    response = await front.client.post(
        "/api/v1/tools", content=b"[" * 200_000, headers={"content-type": "application/json"}
    )
    assert response.status_code in (400, 422)


async def test_a_body_that_is_said_to_be_no_json_is_told_so(front: Served) -> None:
    response = await front.client.post("/api/v1/tools", content=b'{"git_url":"u"}')
    problem = document(response, 422, "invalid_request")
    assert "Content-Type" in problem["detail"]


async def test_an_unknown_path_and_a_wrong_method_say_what_is_there(front: Served) -> None:
    document(await front.client.get("/api/v1/nothing"), 404, "not_found")
    document(await front.client.get("/api/v1/tools/"), 404, "not_found")
    response = await front.client.delete("/api/v1/tools")
    document(response, 405, "method_not_allowed")
    assert response.headers["allow"]


async def test_a_fault_of_ours_tells_an_id_that_is_logged_and_nothing_else(
    front: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    response = await front.client.get("/api/v1/broken", headers={"x-request-id": "asked-1"})
    problem = document(response, 500, "internal_error")
    assert problem["request"] == response.headers["x-request-id"] == "asked-1"
    assert CANARY not in response.text
    assert "RuntimeError" not in response.text


async def test_the_platform_goes_on_after_a_fault(front: Served) -> None:
    await front.client.get("/api/v1/broken")
    assert (await front.client.get("/api/v1/tools")).status_code == 200


async def test_a_body_that_is_announced_too_large_is_refused_unread(front: Served) -> None:
    response = await front.client.post("/api/v1/tools", content=b"x" * (MAX_BODY + 1))
    problem = document(response, 413, "body_too_large")
    assert problem["limit"] == MAX_BODY


async def test_a_body_that_grows_too_large_is_refused(front: Served) -> None:
    async def chunks() -> AsyncGenerator[bytes]:
        for _ in range(20):
            yield b"x" * 65536

    response = await front.client.post("/api/v1/tools", content=chunks(), headers={"content-type": "application/json"})
    document(response, 413, "body_too_large")


async def test_a_body_of_the_allowed_size_is_read(front: Served) -> None:
    padding = MAX_BODY - len(b'{"git_url": ""}')
    content = b'{"git_url": "' + b"x" * padding + b'"}'
    response = await front.client.post("/api/v1/tools", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 202
