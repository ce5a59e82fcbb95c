"""Every request leaves its trace, its id, its numbers and its line, and every answer the same headers."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Request, WebSocket
from starlette.responses import Response
from websockets.asyncio.client import connect

from libs.runtime import metrics, tracing
from libs.runtime.logging import get_logger
from tests.support.served import TOKEN, Served, served, service

TRACE = "0af7651916cd43dd8448eb211c80319c"


def routes(name: str) -> APIRouter:
    router = APIRouter()

    @router.get(f"/api/v1/{name}/{{item}}")
    async def item(item: str, request: Request) -> dict[str, Any]:
        trace = tracing.current()
        get_logger("test-route").info("inside")
        return {"trace": trace.header if trace else None, "request": request.state.request}

    @router.get(f"/api/v1/{name}/own/headers")
    async def own() -> Response:
        return Response(headers={"content-security-policy": "default-src 'self'", "cache-control": "max-age=5"})

    @router.websocket(f"/api/v1/{name}/live")
    async def live(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()

    return router


@pytest.fixture(scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Served]:
    parts = [service("gateway", routes("tools")), service("status", routes("operations"), authenticate=None)]
    async with served(*parts, data=tmp_path_factory.mktemp("data")) as running:
        yield running


def count(**labels: str) -> float:
    return metrics.REGISTRY.get_sample_value("machete_http_requests_total", labels) or 0.0


async def test_requests_are_counted_by_the_routes_template_and_its_service(platform: Served) -> None:
    labels = {"service": "status", "route": "/api/v1/operations/{item}", "method": "GET", "status": "200"}
    before = count(**labels)
    for item in ("one", "two", "three"):
        await platform.client.get(f"/api/v1/operations/{item}")
    assert count(**labels) == before + 3
    assert b"operations/two" not in metrics.render()


async def test_paths_that_strangers_try_make_no_new_numbers(platform: Served) -> None:
    for path in ("/a", "/b", "/c"):
        await platform.stranger.get(path)
        await platform.client.get(path)
    exposed = (await platform.client.get("/metrics")).text
    assert 'route="unmatched"' in exposed
    assert 'route="/a"' not in exposed


async def test_metrics_are_what_prometheus_reads(platform: Served) -> None:
    response = await platform.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert 'machete_check_ok{check="nats",service="gateway"} 1.0' in response.text
    assert "process_resident_memory_bytes" in response.text


async def test_a_trace_goes_on_and_its_id_is_the_requests(platform: Served) -> None:
    sent = f"00-{TRACE}-b7ad6b7169203331-01"
    response = await platform.client.get("/api/v1/tools/x", headers={"traceparent": sent})
    trace = tracing.parse(response.json()["trace"])
    assert trace is not None
    assert trace.trace_id == TRACE
    assert trace.header != sent
    assert response.headers["x-request-id"] == response.json()["request"] == TRACE


@pytest.mark.parametrize("asked", ["mine-1.2_3", "x" * 64])
async def test_a_request_keeps_the_id_it_came_with(platform: Served, asked: str) -> None:
    response = await platform.client.get("/api/v1/tools/x", headers={"x-request-id": asked})
    assert response.headers["x-request-id"] == asked


@pytest.mark.parametrize("asked", ["", "x" * 65, "a b", "a;b", "a\tb"])
async def test_an_id_that_could_do_harm_is_replaced(platform: Served, asked: str) -> None:
    response = await platform.client.get("/api/v1/tools/x", headers={"x-request-id": asked})
    assert response.headers["x-request-id"] == response.json()["request"] != asked


async def test_a_request_is_one_line_with_all_that_is_needed_to_find_it(
    platform: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    sent = f"00-{TRACE}-b7ad6b7169203331-01"
    await platform.client.get("/api/v1/operations/x?secret=1", headers={"traceparent": sent})
    await platform.client.get("/api/health")
    await platform.client.get("/metrics")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    inside, access = lines
    assert (inside["event"], inside["service"], inside["trace"]) == ("inside", "status", TRACE)
    expected = {
        "event": "request",
        "service": "status",
        "method": "GET",
        "path": "/api/v1/operations/x",
        "status": 200,
        "principal": "user:admin",
        "trace": TRACE,
        "client": "127.0.0.1",
    }
    assert {key: access[key] for key in expected} == expected
    assert access["ms"] >= 0


@pytest.mark.parametrize(("trusted", "client"), [((), "127.0.0.1"), (("127.0.0.1",), "203.0.113.9")])
async def test_where_a_request_comes_from_is_believed_of_trusted_proxies_only(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], trusted: tuple[str, ...], client: str
) -> None:
    async with served(service(routes=routes("tools")), data=tmp_path, trusted_proxies=trusted) as running:
        await running.client.get("/api/v1/tools/x", headers={"x-forwarded-for": "203.0.113.9"})
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["client"] for line in lines if line["event"] == "request"] == [client]


async def test_every_answer_carries_the_headers_that_protect(platform: Served) -> None:
    for response in (
        await platform.client.get("/api/v1/tools/x"),
        await platform.client.get("/nothing"),
        await platform.stranger.get("/api/v1/tools/x"),
        await platform.stranger.get("/api/health"),
    ):
        assert response.headers.get_list("server") == ["machete"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-request-id"]
        assert response.headers["date"]


async def test_what_a_service_says_itself_is_left_alone(platform: Served) -> None:
    response = await platform.client.get("/api/v1/tools/own/headers")
    assert response.headers.get_list("content-security-policy") == ["default-src 'self'"]
    assert response.headers.get_list("cache-control") == ["max-age=5"]


async def test_open_websockets_are_counted_until_they_close(platform: Served) -> None:
    def open_now() -> float:
        labels = {"service": "status", "route": "/api/v1/operations/live"}
        return metrics.REGISTRY.get_sample_value("machete_websockets_open", labels) or 0.0

    address = f"ws://127.0.0.1:{platform.port}/api/v1/operations/live"
    async with connect(address, additional_headers={"authorization": f"Bearer {TOKEN}"}) as websocket:
        assert open_now() == 1
        await websocket.send("done")
        await websocket.wait_closed()
    assert open_now() == 0
