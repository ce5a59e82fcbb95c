"""`serve()`: any number of services in one process, started together, stopped in order, never half dead."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from libs.runtime.health import Check
from libs.runtime.http.lifecycle import stopping
from libs.runtime.http.server import PortTaken, listen
from libs.runtime.service import ServiceBroke, front, serve
from libs.runtime.settings import Settings
from tests.support.processes import until
from tests.support.served import TOKEN, served, service, until_healthy

Run = Callable[[], AbstractAsyncContextManager[None]]
BEARER = {"authorization": f"Bearer {TOKEN}"}


def noting(name: str, notes: list[str]) -> Run:
    @asynccontextmanager
    async def run() -> AsyncGenerator[None]:
        notes.append(f"{name} in")
        try:
            yield
        finally:
            notes.append(f"{name} out")

    return run


def routes(path: str) -> APIRouter:
    router = APIRouter()

    @router.get(path)
    async def answer() -> str:
        return path

    return router


async def test_all_services_answer_on_one_port(tmp_path: Path) -> None:
    parts = [service("gateway", routes("/api/v1/tools")), service("status", routes("/api/v1/operations"))]
    async with served(*parts, data=tmp_path) as running:
        for path in ("/api/v1/tools", "/api/v1/operations"):
            assert (await running.client.get(path)).json() == path
        health = (await running.client.get("/api/health")).json()
    assert health["status"] == "ok"
    assert health["ready"] is True
    assert health["services"]["status"] == {"ready": True, "checks": {"nats": {"ok": True, "detail": ""}}}
    assert sorted(health["services"]) == ["gateway", "status"]


@pytest.mark.parametrize(
    ("check", "status", "word"),
    [
        (Check("engine", ok=False, detail="away", critical=False), 200, "degraded"),
        (Check("nats", ok=False, detail="away"), 503, "down"),
    ],
)
async def test_health_says_what_is_missing(tmp_path: Path, check: Check, status: int, word: str) -> None:
    async def health() -> Sequence[Check]:
        return [check]

    async with served(service(health=health), data=tmp_path) as running:
        response = await running.stranger.get("/api/health")
    assert (response.status_code, response.json()["status"]) == (status, word)
    assert response.json()["services"]["gateway"]["checks"][check.name] == {"ok": False, "detail": "away"}


async def test_health_answers_while_services_start_and_nothing_else_does(tmp_path: Path) -> None:
    gate = asyncio.Event()

    @asynccontextmanager
    async def slow_to_start() -> AsyncGenerator[None]:
        await gate.wait()
        yield

    parts = [service("gateway", routes("/api/v1/tools")), service("status", run=slow_to_start)]
    async with served(*parts, data=tmp_path, wait=False) as running:
        health = await running.stranger.get("/api/health")
        assert (health.status_code, health.json()["live"], health.json()["ready"]) == (503, True, False)
        assert health.json()["services"]["status"]["checks"]["start"]["ok"] is False
        turned_away = await running.client.get("/api/v1/tools")
        assert (turned_away.status_code, turned_away.json()["code"]) == (503, "starting")
        gate.set()
        await until_healthy(running.stranger)
        assert (await running.client.get("/api/v1/tools")).status_code == 200


async def test_services_are_left_in_reverse_when_it_is_stopped(tmp_path: Path) -> None:
    notes: list[str] = []
    parts = [service(name, run=noting(name, notes)) for name in ("a", "b", "c")]
    async with served(*parts, data=tmp_path):
        assert sorted(notes) == ["a in", "b in", "c in"]
    assert notes[3:] == ["c out", "b out", "a out"]


async def test_requests_are_answered_before_the_services_are_left(tmp_path: Path) -> None:
    notes: list[str] = []
    router = APIRouter()

    @router.get("/api/v1/slow")
    async def slow() -> str:
        notes.append("asked")
        await asyncio.sleep(0.3)
        notes.append("answered")
        return "done"

    async with served(service(routes=router, run=noting("gateway", notes)), data=tmp_path) as running:
        asking = asyncio.create_task(running.client.get("/api/v1/slow"))
        await until(lambda: "asked" in notes)
        running.task.cancel()
        assert (await asking).json() == "done"
        await asyncio.wait([running.task])
        with pytest.raises(httpx.ConnectError):
            await running.client.get("/api/v1/slow")
    assert notes == ["gateway in", "asked", "answered", "gateway out"]


async def test_a_request_that_does_not_end_is_cut_off_with_a_word(tmp_path: Path) -> None:
    asked = asyncio.Event()
    router = APIRouter()

    @router.get("/api/v1/endless")
    async def endless() -> None:
        asked.set()
        await asyncio.Event().wait()

    async with served(service(routes=router), data=tmp_path, stop_grace=2) as running:
        asking = asyncio.create_task(running.client.get("/api/v1/endless"))
        await asked.wait()
        running.task.cancel()
        response = await asking
    assert (response.status_code, response.json()["code"]) == (503, "stopping")


async def test_an_answer_that_follows_ends_by_itself_when_told(tmp_path: Path) -> None:
    router = APIRouter()

    @router.get("/api/v1/follow")
    async def follow(request: Request) -> StreamingResponse:
        async def lines() -> AsyncGenerator[str]:
            yield "first\n"
            await stopping(request).wait()
            yield "last\n"

        return StreamingResponse(lines())

    async with (
        served(service(routes=router), data=tmp_path) as running,
        running.client.stream("GET", "/api/v1/follow") as response,
    ):
        lines = response.aiter_lines()
        assert await anext(lines) == "first"
        running.task.cancel()
        assert [line async for line in lines] == ["last"]


async def broken_by(running: asyncio.Task[None]) -> ServiceBroke:
    async with asyncio.timeout(10):
        with pytest.raises(ServiceBroke) as broken:
            await running
    return broken.value


def settings(data: Path, **given: object) -> Settings:
    return Settings.model_validate({"data": data, "port": 0, **given})


async def test_a_service_that_cannot_start_ends_the_process(tmp_path: Path) -> None:
    notes: list[str] = []

    @asynccontextmanager
    async def cannot() -> AsyncGenerator[None]:
        raise ConnectionError("no server answers at nats://127.0.0.1:4222")
        yield

    parts = [service("gateway", run=noting("gateway", notes)), service("status", run=cannot)]
    broken = await broken_by(asyncio.create_task(serve(parts, settings(tmp_path), ready=lambda: notes.append("ready"))))
    assert str(broken) == "status broke: ConnectionError: no server answers at nats://127.0.0.1:4222"
    assert isinstance(broken.__cause__, ConnectionError)
    assert notes == ["gateway in", "gateway out"]


async def test_a_service_that_breaks_later_ends_the_process(tmp_path: Path) -> None:
    notes: list[str] = []
    trouble = asyncio.Event()

    async def work() -> None:
        await trouble.wait()
        raise ConnectionError("the connection is closed for good")

    @asynccontextmanager
    async def breaking() -> AsyncGenerator[None]:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(work())
            yield

    parts = [service("status", run=breaking), service("gateway", run=noting("gateway", notes))]
    running = asyncio.create_task(serve(parts, settings(tmp_path), ready=trouble.set))
    broken = await broken_by(running)
    assert str(broken) == "status broke: ConnectionError: the connection is closed for good"
    assert notes == ["gateway in", "gateway out"]


async def test_a_service_that_does_not_stop_is_cut_off_and_named(tmp_path: Path) -> None:
    notes: list[str] = []

    @asynccontextmanager
    async def stubborn() -> AsyncGenerator[None]:
        yield
        try:
            await asyncio.Event().wait()
        finally:
            notes.append("cut off")

    parts = [service("gateway", run=noting("gateway", notes)), service("status", run=stubborn)]
    running = asyncio.create_task(serve(parts, settings(tmp_path, stop_grace=0.3)))
    await until(lambda: notes == ["gateway in"])
    running.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await running
    assert notes == ["gateway in", "cut off", "gateway out"]


async def test_a_port_that_is_taken_is_named_before_anything_starts(tmp_path: Path) -> None:
    notes: list[str] = []
    with listen("127.0.0.1", 0) as other:
        other.listen()
        port = int(other.getsockname()[1])
        with pytest.raises(PortTaken, match=f"port {port} on 127.0.0.1 is taken .*MACHETE_PORT"):
            await serve([service(run=noting("gateway", notes))], settings(tmp_path, port=port))
    assert notes == []


def test_an_address_of_another_machine_is_told_so() -> None:
    with pytest.raises(PortTaken, match="MACHETE_HOST"):
        listen("192.0.2.1", 0)


async def test_the_port_is_free_again_afterwards(tmp_path: Path) -> None:
    async with served(service(), data=tmp_path) as running:
        await running.stranger.get("/api/health")
    with socket.create_server(("127.0.0.1", running.port)):
        pass


async def test_it_can_be_started_again_in_the_same_process(tmp_path: Path) -> None:
    for _ in range(3):
        async with served(service(routes=routes("/api/v1/tools")), data=tmp_path) as running:
            assert (await running.client.get("/api/v1/tools")).status_code == 200


async def test_of_several_that_can_tell_who_asks_the_first_is_asked(tmp_path: Path) -> None:
    asked: list[str] = []

    async def other(token: str) -> None:
        asked.append(token)

    parts = [service("gateway", routes("/api/v1/tools")), service("status", authenticate=other)]
    async with served(*parts, data=tmp_path) as running:
        assert (await running.client.get("/api/v1/tools")).status_code == 200
    assert asked == []


async def test_the_data_folder_is_made(tmp_path: Path) -> None:
    async with served(service(), data=tmp_path / "new"):
        assert (tmp_path / "new").is_dir()


def test_two_services_cannot_answer_the_same_request() -> None:
    parts = [service("gateway", routes("/api/v1/tools/{name}")), service("status", routes("/api/v1/tools/{tool}"))]
    with pytest.raises(ValueError, match=r"status and gateway both answer /api/v1/tools/\{tool\}"):
        front(parts)


def test_no_service_can_take_the_place_of_health() -> None:
    with pytest.raises(ValueError, match="both answer /api/health"):
        front([service("gateway", routes("/api/health"))])


async def test_a_service_runs_once_in_a_process(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="once"):
        await serve([service("gateway"), service("gateway")], settings(tmp_path))


def test_a_router_within_a_router_is_refused_with_the_way_out() -> None:
    outer = APIRouter()
    outer.include_router(routes("/api/v1/tools"))
    with pytest.raises(TypeError, match="declare all routes on one APIRouter"):
        front([service("gateway", outer)])
