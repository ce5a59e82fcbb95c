"""Nothing is told to a stranger: every route, every unknown path, every WebSocket asks for a token."""

import asyncio
import base64
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Depends, WebSocket
from fastapi.routing import APIRoute, APIWebSocketRoute
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from libs.contracts.principals import Principal
from libs.runtime.http.authentication import OPEN, principal
from libs.runtime.http.problems import Problem
from libs.runtime.service import front
from tests.support.served import ADMIN, TOKEN, Served, served, service

CHALLENGE = 'Bearer realm="MACHETE"'
BEARER = {"authorization": f"Bearer {TOKEN}"}
CANARY = "canary-0a9f-is-no-token"


def routes() -> APIRouter:
    router = APIRouter()

    @router.get("/api/v1/me")
    async def me(who: Annotated[Principal, Depends(principal)]) -> Principal:
        return who

    @router.post("/api/v1/tools")
    @router.delete("/api/v1/tools/{name}")
    @router.get("/api/healthy")
    async def anything() -> None:
        raise AssertionError("a stranger came through")

    @router.websocket("/api/v1/live")
    async def live(websocket: WebSocket) -> None:
        await websocket.accept()
        shown = ",".join(websocket.scope["subprotocols"])
        await websocket.send_text(f"{websocket.scope['state']['principal'].label} {shown}")
        await websocket.close()

    @router.websocket("/api/v1/choosy")
    async def choosy(websocket: WebSocket) -> None:
        await websocket.accept(subprotocol="its.own")
        await websocket.close()

    @router.websocket("/api/v1/missing")
    async def missing(websocket: WebSocket) -> None:
        raise Problem(404, "unknown_topic", "No such topic", "there is no such topic")

    @router.websocket("/api/v1/broken")
    async def broken(websocket: WebSocket) -> None:
        raise RuntimeError("broken before it was accepted")

    return router


@pytest.fixture(scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Served]:
    async with served(service(routes=routes()), data=tmp_path_factory.mktemp("data")) as running:
        yield running


def every_request() -> list[tuple[str, str]]:
    """Each method of each route of the whole app, and what no route knows."""
    app = front([service(routes=routes())])
    known = [
        (method, route.path.replace("{name}", "some"))
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    ]
    unknown = [
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", "/api/health/"),
        ("GET", "/api/health/x"),
        ("GET", "//api/health"),
        ("GET", "/api/%68ealthx"),
        ("PATCH", "/api/v1/tools"),
        ("OPTIONS", "/api/v1/tools"),
        ("HEAD", "/api/docs"),
        ("POST", "/metrics"),
        ("GET", "/api/docs/../v1/me"),
    ]
    return sorted({*known, *unknown} - {("GET", path) for path in OPEN})


@pytest.mark.parametrize(("method", "path"), every_request())
async def test_a_stranger_is_answered_401_everywhere(platform: Served, method: str, path: str) -> None:
    for headers in ({}, {"authorization": f"Bearer {CANARY}"}):
        response = await platform.stranger.request(method, path, headers=headers)
        assert response.status_code == 401
        assert CHALLENGE in response.headers["www-authenticate"]
        assert CANARY not in response.text
        if method != "HEAD":
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["code"] == "unauthenticated"


def every_websocket() -> list[str]:
    app = front([service(routes=routes())])
    return [*(route.path for route in app.routes if isinstance(route, APIWebSocketRoute)), "/api/health", "/nothing"]


@pytest.mark.parametrize("path", every_websocket())
async def test_a_stranger_opens_no_websocket(platform: Served, path: str) -> None:
    for offered in (None, [Subprotocol(f"machete.bearer.{CANARY}")]):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"ws://127.0.0.1:{platform.port}{path}", subprotocols=offered):
                pass
        assert refused.value.response.status_code == 401


def test_only_reviewed_paths_are_open() -> None:
    assert frozenset({"/api/health"}) == OPEN


async def test_health_is_open_to_everybody(platform: Served) -> None:
    assert (await platform.stranger.get("/api/health")).status_code == 200


async def test_whose_token_it_is_reaches_the_route(platform: Served) -> None:
    assert (await platform.client.get("/api/v1/me")).json() == ADMIN.model_dump()


def basic(password: str, user: str = "me") -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", TOKEN)],
        [("authorization", f"Token {TOKEN}")],
        [("authorization", "Bearer")],
        [("authorization", f"Bearer {TOKEN}x")],
        [("authorization", f"Bearer {TOKEN} {TOKEN}")],
        [("authorization", f"Bearer {TOKEN}"), ("authorization", f"Bearer {TOKEN}")],
        [("authorization", "Bearer " + "x" * 5000)],
        [("cookie", f"token={TOKEN}")],
        [("x-authorization", f"Bearer {TOKEN}")],
        [("sec-websocket-protocol", f"machete.bearer.{TOKEN}")],
        list(basic(TOKEN).items()),
    ],
)
async def test_a_token_counts_only_where_it_belongs(platform: Served, headers: list[tuple[str, str]]) -> None:
    response = await platform.stranger.get(f"/api/v1/me?token={TOKEN}", headers=headers)
    assert response.status_code == 401
    assert "Basic" not in response.headers["www-authenticate"]


@pytest.mark.parametrize("path", ["/api/docs", "/api/openapi.json", "/api/docs/start.js", "/api/docs/swagger-ui.css"])
async def test_a_browser_can_open_the_documentation_with_the_token_as_password(platform: Served, path: str) -> None:
    asked = await platform.stranger.get(path)
    assert asked.headers["www-authenticate"].startswith("Basic realm=")
    assert (await platform.stranger.get(path, headers=basic(TOKEN))).status_code == 200
    assert (await platform.stranger.get(path, headers=basic("wrong"))).status_code == 401
    assert (await platform.stranger.get(path, headers={"authorization": "Basic %%%"})).status_code == 401
    assert (await platform.stranger.post(path, headers=basic(TOKEN))).status_code == 401


async def test_who_cannot_tell_now_is_no_stranger(tmp_path: Path) -> None:
    async def away(_token: str) -> Principal | None:
        raise Problem(503, "gateway_away", "Cannot tell who asks", "the gateway does not answer; try again")

    async with served(service(routes=routes(), authenticate=away), data=tmp_path) as running:
        response = await running.client.get("/api/v1/me")
        assert (response.status_code, response.json()["code"]) == (503, "gateway_away")
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"ws://127.0.0.1:{running.port}/api/v1/live", additional_headers=BEARER):
                pass
        assert refused.value.response.status_code == 503


async def test_where_no_service_can_tell_everybody_is_a_stranger(tmp_path: Path) -> None:
    async with served(service(routes=routes(), authenticate=None), data=tmp_path) as running:
        assert (await running.client.get("/api/v1/me")).status_code == 401
        assert (await running.client.get("/api/health")).status_code == 200


async def greeting(
    port: int, offered: list[str] | None = None, headers: dict[str, str] | None = None
) -> tuple[str, str | None]:
    """What the WebSocket says first, and the subprotocol that was agreed on."""
    protocols = [Subprotocol(each) for each in offered] if offered else None
    address = f"ws://127.0.0.1:{port}/api/v1/live"
    async with connect(address, subprotocols=protocols, additional_headers=headers) as websocket:
        return str(await websocket.recv()), websocket.subprotocol


async def test_a_program_shows_its_token_in_the_header(platform: Served) -> None:
    assert await greeting(platform.port, headers=BEARER) == ("user:admin ", None)


async def test_a_browser_shows_its_token_as_a_subprotocol_which_is_echoed(platform: Served) -> None:
    said, agreed = await greeting(platform.port, [f"machete.bearer.{TOKEN}"])
    assert (said, agreed) == ("user:admin ", f"machete.bearer.{TOKEN}")


async def test_what_a_browser_sends_along_from_another_page_does_not_hide_the_token(platform: Served) -> None:
    typed = {"Authorization": "Basic " + base64.b64encode(b"me:mistyped").decode()}
    assert await greeting(platform.port, [f"machete.bearer.{TOKEN}"], typed) == (
        "user:admin ",
        f"machete.bearer.{TOKEN}",
    )


async def test_a_browser_that_offers_ours_too_gets_its_token_not_back(platform: Served) -> None:
    said, agreed = await greeting(platform.port, [f"machete.bearer.{TOKEN}", "machete.v1"])
    assert (said, agreed) == ("user:admin machete.v1", "machete.v1")


async def test_the_services_own_choice_of_subprotocol_stands(platform: Served) -> None:
    offered = [Subprotocol(f"machete.bearer.{TOKEN}"), Subprotocol("its.own")]
    async with connect(f"ws://127.0.0.1:{platform.port}/api/v1/choosy", subprotocols=offered) as websocket:
        assert websocket.subprotocol == "its.own"


@pytest.mark.parametrize(("path", "status"), [("missing", 404), ("nothing", 404), ("broken", 500)])
async def test_a_websocket_that_cannot_be_is_told_why(
    platform: Served, path: str, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://127.0.0.1:{platform.port}/api/v1/{path}", additional_headers=BEARER):
            pass
    assert refused.value.response.status_code == status
    assert b"/problems/" in (refused.value.response.body or b"")
    assert "handshake" not in "".join(capfd.readouterr()), "an answer is no mistake"


async def test_a_websocket_is_closed_with_a_word_when_the_platform_stops(tmp_path: Path) -> None:
    router = APIRouter()

    @router.websocket("/api/v1/live")
    async def live(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()

    async with served(service(routes=router), data=tmp_path) as running:
        async with connect(f"ws://127.0.0.1:{running.port}/api/v1/live", additional_headers=BEARER) as websocket:
            running.task.cancel()
            with pytest.raises(ConnectionClosed) as closed:
                async with asyncio.timeout(5):
                    await websocket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012


async def test_no_token_gets_into_the_log(platform: Served, capfd: pytest.CaptureFixture[str]) -> None:
    await platform.client.get(f"/api/v1/me?access_token={TOKEN}")
    await platform.stranger.get("/api/v1/me", headers=basic(TOKEN))
    await greeting(platform.port, [f"machete.bearer.{TOKEN}"])
    with pytest.raises(httpx.HTTPStatusError):
        (await platform.client.get("/api/v1/nothing")).raise_for_status()
    assert TOKEN not in capfd.readouterr().err
