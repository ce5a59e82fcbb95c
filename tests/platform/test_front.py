"""The front itself: what goes where, and what a client may not say of himself. Real Caddy, services that echo."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.setup.parts import CADDY, chosen
from services import registry
from tests.support.platform_containers import reachable_from_containers
from tests.support.platform_waiting import until

CADDYFILE = Path(__file__).parents[2] / "deploy" / "caddy" / "Caddyfile"
CLAIMS = {
    "Forwarded": "for=6.6.6.6",
    "Remote-Groups": "admin",
    "Remote-User": "admin",
    "X-Auth-Request-User": "admin",
    "X-Authenticated-User": "admin",
    "X-Client-IP": "6.6.6.6",
    "X-Forwarded-Email": "admin@example.com",
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-User": "admin",
    "X-Machete-Principal": "admin",
    "X-Original-URL": "/api/v1/agents",
    "X-Real-IP": "6.6.6.6",
    "X-Remote-User": "admin",
    "X-Rewrite-URL": "/api/v1/agents",
    "X-User": "admin",
}


class Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        said = {"who": getattr(self.server, "who", ""), "path": self.path, "headers": dict(self.headers.items())}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: a test has its own words."""


@contextmanager
def echoing(who: str) -> Iterator[str]:
    server = ThreadingHTTPServer((reachable_from_containers(), 0), Echo)
    setattr(server, "who", who)  # noqa: B010
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"{server.server_address[0]}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


@dataclass(frozen=True)
class Front:
    client: httpx.Client

    async def listening(self) -> None:
        def answers() -> bool:
            try:
                return self.client.get("/api/health").status_code > 0
            except httpx.TransportError:
                return False

        await until(answers, "Caddy answers")

    def asked(self, path: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
        return self.client.get(path, headers=headers).raise_for_status().json()


@contextmanager
def fronting(gateway: str, status: str) -> Iterator[Front]:
    image = chosen([CADDY]).get(CADDY.argument, CADDY.public)
    where = ["-e", f"GATEWAY={gateway}", "-e", f"STATUS={status}", "-p", "127.0.0.1::8080"]
    what = ["-v", f"{CADDYFILE}:/etc/caddy/Caddyfile:ro", "--entrypoint", "caddy", image]
    run = ["run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
    container = docker("run", "--detach", "--rm", *where, *what, *run)
    try:
        address = docker("port", container, "8080/tcp").splitlines()[0]
        with httpx.Client(base_url=f"http://{address}", timeout=20) as client:
            yield Front(client)
    finally:
        docker("rm", "--force", container)


@pytest.fixture(scope="module")
async def front() -> Any:
    with echoing("gateway") as gateway, echoing("status") as status, fronting(gateway, status) as front:
        await front.listening()
        yield front


def paths_of(service: str, folder: Path) -> list[str]:
    """Every path that this service answers, with something in each of its parameters."""
    (built,) = registry.assemble([service], data=folder)
    assert built.routes is not None
    return [re.sub(r"{[^}]*}", "some-thing.1", getattr(route, "path", "")) for route in built.routes.routes]


@pytest.mark.parametrize("service", ["gateway", "status"])
def test_every_route_of_a_service_is_led_to_it(front: Front, service: str, tmp_path: Path) -> None:
    paths = paths_of(service, tmp_path)
    assert len(paths) >= 3
    assert {path: front.asked(path)["who"] for path in paths} == dict.fromkeys(paths, service)


def test_services_with_routes_are_those_behind_the_front(tmp_path: Path) -> None:
    built = registry.assemble(registry.known(), data=tmp_path)
    assert {each.name for each in built if each.routes is not None} == {"gateway", "status"}


@pytest.mark.parametrize("path", ["/api/health", "/api/docs", "/api/openapi.json", "/", "/nothing", "/api/v1/livelier"])
def test_whatever_nobody_claims_is_the_gateways_to_answer(front: Front, path: str) -> None:
    assert front.asked(path)["who"] == "gateway"


def test_what_a_client_claims_to_be_reaches_nobody(front: Front) -> None:
    for path in ("/api/v1/tools", "/api/v1/live"):
        heard = {name.lower(): value for name, value in front.asked(path, CLAIMS)["headers"].items()}
        believed = {name for name, value in CLAIMS.items() if heard.get(name.lower()) == value}
        assert believed == set()
        # What the front says by itself is of the connection.
        assert heard["x-forwarded-proto"] == "http"
        assert "6.6.6.6" not in heard["x-forwarded-for"]
        assert set(heard) & {name.lower() for name in CLAIMS} == {
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
        }


def test_a_token_and_an_idempotency_key_go_through_as_they_are(front: Front) -> None:
    sent = {"Authorization": "Bearer abc", "Idempotency-Key": "once", "Sec-WebSocket-Protocol": "machete.bearer.abc"}
    heard = {name.lower(): value for name, value in front.asked("/api/v1/live", sent)["headers"].items()}
    assert {name: heard[name.lower()] for name in sent} == sent


async def test_a_service_that_is_away_is_a_503_that_says_so() -> None:
    nobody = f"{reachable_from_containers()}:9"
    with fronting(nobody, nobody) as front:
        await front.listening()
        answer = front.client.get("/api/v1/tools")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"]
    problem = answer.json()
    assert {"type", "title", "status", "detail", "code"} == set(problem)
    assert (problem["status"], problem["code"]) == (503, "starting")
