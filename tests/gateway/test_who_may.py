"""Who gets through the door at all, and who may do what behind it: every route there is, tried by everybody."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from libs.contracts.principals import Principal, Role
from libs.runtime.http.authentication import OPEN
from libs.runtime.service import front
from services.gateway.app import build
from services.gateway.domain.roles import NEEDED, may
from services.gateway.settings import Settings
from tests.gateway.doors import GIT_URL, Door, accepted, door, operation, refused
from tests.gateway.ledger import Ledger
from tests.support.stage import Stage

ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")
INSTALLS = (("POST", "/api/v1/tools"), ("POST", "/api/tools/install"))
ELSEWHERE = (("GET", "/"), ("GET", "/api"), ("GET", "/api/v1/nothing"), ("POST", "/api/v2/tools"), ("GET", "/problems"))


def app() -> FastAPI:
    """The gateway's whole front, as `serve()` would put it on a port."""
    return front([build(Settings.model_validate({"data": "nowhere"}))])


def all_routes() -> Iterator[tuple[str, str]]:
    for route in app().routes:
        assert isinstance(route, APIRoute), f"{route!r} is no plain route: have it tried here too"
        for method in sorted(route.methods or ()):
            yield method, route.path


ROUTES = tuple(all_routes())


def filled(path: str) -> str:
    id = f"op-{'a' * 26}" if "/operations/" in path else "lathe"
    return path.replace("{name}", "lathe").replace("{id}", id)


def unknown(response: httpx.Response) -> None:
    refused(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"].find('Bearer realm="MACHETE"') >= 0


def test_the_routes_are_those_of_the_contract():
    """A route more or less is seen here, and so is one that needs no token."""
    assert {route for route in ROUTES if route[1].startswith(("/api/v1", "/api/tools", "/api/diagnostics"))} == set(
        NEEDED
    )
    assert {path for _, path in ROUTES if path in OPEN} == {"/api/health"} == set(OPEN)


@pytest.mark.parametrize(("method", "path"), [*ROUTES, *ELSEWHERE])
async def test_without_a_token_that_is_valid_there_is_nothing_but_health(
    shared: Door, shared_ledger: Ledger, method: str, path: str
):
    before = await shared_ledger.extent()
    ask = shared.stranger.build_request(method, filled(path), json={"git_url": GIT_URL})
    answers: list[httpx.Response] = []
    for shown in (None, "Bearer", "Bearer wrong", f"Bearer {shared.token}x", f"Bearer {shared.token[:-1]}",
                  f"Basic {shared.token}", shared.token, "Bearer " + "x" * 5000):  # fmt: skip
        if shown is not None:
            ask.headers["authorization"] = shown
        answers.append(await shared.stranger.send(ask))
    for answer in answers:
        if path == "/api/health":
            assert answer.status_code == 200
        else:
            unknown(answer)
    assert await shared_ledger.extent() == before


async def test_the_token_counts_in_its_header_alone(shared: Door):
    token = shared.token
    basic = base64.b64encode(f"admin:{token}".encode()).decode()
    unknown(await shared.stranger.get("/api/v1/tools", params={"token": token, "access_token": token}))
    unknown(await shared.stranger.get("/api/v1/tools", headers={"cookie": f"token={token}"}))
    unknown(await shared.stranger.post("/api/v1/tools", json={"git_url": GIT_URL, "token": token}))
    unknown(await shared.stranger.post("/api/v1/tools", headers={"authorization": f"Basic {basic}"}))
    twice = [(b"authorization", f"Bearer {each}".encode()) for each in (token, "other")]
    unknown(await shared.stranger.get("/api/v1/tools", headers=twice))


async def test_who_is_known_gets_through_whatever_the_case_of_bearer(shared: Door):
    for scheme in ("Bearer", "bearer", "BEARER"):
        response = await shared.stranger.post(
            "/api/v1/tools/nobody/start", headers={"authorization": f"{scheme} {shared.token}"}
        )
        refused(response, 404, "tool_not_found")


async def test_identity_cannot_be_claimed_by_a_header(shared: Door, shared_ledger: Ledger):
    for header in ("x-forwarded-user", "remote-user", "x-remote-user", "x-machete-principal", "x-user"):
        unknown(await shared.stranger.get("/api/v1/tools", headers={header: "admin"}))
    headers = {"x-forwarded-user": "mallory", "x-machete-principal": "mallory"}
    body = {"git_url": GIT_URL, "name": "claimed"}
    shown = accepted(await shared.client.post("/api/v1/tools", json=body, headers=headers))["operation"]
    assert shown["requested_by"] == "user:admin"
    assert (await shared_ledger.accepted_once(shown["id"])).requested_by.name == "admin"


async def by_role(token: str) -> Principal | None:
    """Everybody's token is the role and a name, such as `viewer-eve`."""
    role, _, name = token.partition("-")
    return Principal(kind="user", name=name, role=role) if role in ROLES else None


@pytest.fixture(scope="module")
async def people(shared_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Door]:
    """A door that knows more people than the administrator."""
    async with door(shared_stage, tmp_path_factory.mktemp("people"), authenticate=by_role) as open_door:
        yield open_door


def shows(role: Role, name: str = "eve") -> dict[str, str]:
    return {"authorization": f"Bearer {role}-{name}"}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("method", "path"), sorted(NEEDED))
async def test_each_role_may_do_on_each_route_what_the_table_says_and_no_more(
    people: Door, shared_ledger: Ledger, role: Role, method: str, path: str
):
    before = await shared_ledger.extent()
    body = {"git_url": GIT_URL, "name": f"by-{role}-{path.rpartition('/')[2]}"} if (method, path) in INSTALLS else None
    body = {"name": "by-admin"} if (method, path) == ("POST", "/api/v1/agents") else body
    response = await people.stranger.request(method, filled(path), json=body, headers=shows(role))
    needed = NEEDED[method, path]
    if may(role, needed):
        # No tool, no operation and no status service is there; whether the role is enough is decided before.
        assert response.status_code in (200, 201, 202, 404, 503), response.text
        return
    document = refused(response, 403, "not_allowed")
    assert (document["role"], document["needed"]) == (role, needed)
    assert await shared_ledger.extent() == before


def test_viewers_change_nothing_operators_do_not_install_and_admins_may_do_all():
    """The table in words, so that a slip in it is seen."""
    for (method, path), needed in NEEDED.items():
        if path.startswith(("/api/v1/agents", "/api/v1/status", "/api/v1/rebuilds", "/api/v1/dead-letters")):
            assert needed == "admin"
        elif method == "GET":
            assert needed == "viewer"
        elif (method, path) in INSTALLS or method == "DELETE":
            assert needed == "admin"
        else:
            assert needed == "operator"
    assert [[may(role, needed) for needed in ROLES] for role in ROLES] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


async def test_whoever_may_not_do_it_is_not_told_whether_it_is_there(people: Door):
    await people.stranger.post("/api/v1/tools", json={"git_url": GIT_URL, "name": "there"}, headers=shows("admin"))
    answers = [
        refused(await people.stranger.delete(f"/api/v1/tools/{name}", headers=shows("viewer")), 403, "not_allowed")
        for name in ("there", "not-there", "a;id")
    ]
    assert answers[0] == answers[1] == answers[2]


async def test_a_key_belongs_to_who_used_it(people: Door, shared_ledger: Ledger):
    """Two people with one key have not asked for the same, and do not see each other's operation."""
    await people.stranger.post("/api/v1/tools", json={"git_url": GIT_URL, "name": "ours"}, headers=shows("admin"))
    asks = [{**shows("operator", name), "idempotency-key": "same"} for name in ("eve", "adam", "eve")]
    first, second, again = [
        operation(await people.stranger.post("/api/v1/tools/ours/start", headers=headers)) for headers in asks
    ]
    assert first == again != second
    assert (await shared_ledger.accepted_once(first)).requested_by.label == "user:eve"
    assert (await shared_ledger.accepted_once(second)).requested_by.label == "user:adam"


async def test_who_cancelled_is_kept(people: Door, shared_ledger: Ledger):
    body = {"git_url": GIT_URL, "name": "unwanted"}
    id = operation(await people.stranger.post("/api/v1/tools", json=body, headers=shows("admin")))
    accepted(await people.stranger.post(f"/api/v1/operations/{id}/cancel", headers=shows("operator", "adam")))
    _, cancel = await shared_ledger.record(id)
    assert cancel.model_dump()["requested_by"]["name"] == "adam"


def test_every_route_of_the_documentation_needs_a_token_but_health():
    document = app().openapi()
    assert document["security"] == [{"token": []}]
    for path, methods in document["paths"].items():
        for each in methods.values():
            assert (each.get("security") == []) == (path in OPEN), path


def test_what_a_route_may_refuse_is_documented():
    """Each change says 202 with its headers, and the refusals that are its own; each route says the rest."""
    paths = app().openapi()["paths"]
    for method, path in NEEDED:
        responses = paths[path][method.lower()]["responses"]
        assert responses["default"]["content"].keys() == {"application/problem+json"}
        accepts = not path.startswith(("/api/v1/agents", "/api/v1/status", "/api/v1/dead-letters/{id}"))
        if (method != "GET" and accepts) or path.endswith("/retry"):
            assert responses["202"]["headers"].keys() == {"Location", "Machete-Position"}
            assert {"429", "503", "507"} <= responses.keys()


def test_settings_of_the_gateway_need_no_file(tmp_path: Path):
    assert build(Settings.model_validate({"data": tmp_path})).name == "gateway"
    assert not list(tmp_path.iterdir())
