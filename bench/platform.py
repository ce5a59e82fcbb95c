"""A whole platform of the bench's own: `machete up`, and what its user asks of it over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.children import running
from bench.probe import first_answer
from bench.stage import Stage, free_port
from deploy.setup.images import build_args
from libs.runtime.bus.connecting import connect
from libs.runtime.bus.provision import provisioned

MACHETE = Path(sys.executable).with_name("machete")
HEALTH = "/api/health"
PATIENCE = 300.0


class Failed(Exception):
    """The platform refused, or an operation did not succeed; the text is the platform's own."""


@dataclass(frozen=True)
class Platform:
    data: Path
    port: int
    process: subprocess.Popen[bytes]
    client: httpx.AsyncClient

    async def post(self, path: str, body: object = None) -> dict[str, Any]:
        """What was accepted: the operation, and the position from which on it can be asked for."""
        return await self._said("POST", path, json=body)

    async def ended(self, accepted: dict[str, Any]) -> None:
        """Returns when the operation has succeeded; asks as soon as it may."""
        operation, give_up = accepted["operation"], time.monotonic() + PATIENCE
        while operation["state"] in ("accepted", "running"):
            if time.monotonic() > give_up:
                raise Failed(f"{operation['id']} is still {operation['state']} after {PATIENCE:g} s")
            query = {"wait": 30, "position": accepted["position"]}
            operation = await self._said("GET", f"/operations/{operation['id']}", params=query)
        if operation["state"] != "succeeded":
            raise Failed(f"{operation['kind']} of {operation['tool_name']}: {operation['state']}, {operation['error']}")

    async def do(self, path: str, body: object = None) -> None:
        await self.ended(await self.post(path, body))

    async def uninstall(self, name: str) -> None:
        await self.ended(await self._said("DELETE", f"/tools/{name}", params={"now": "true", "data": "true"}))

    async def port_of(self, name: str) -> int:
        """The host port of a running tool."""
        shown = await self._said("GET", f"/tools/{name}")
        port = httpx.URL(shown["urls"][0]).port
        if port is None:
            raise Failed(f"{shown['urls']} has no port")
        return port

    async def _said(self, method: str, path: str, **what: Any) -> dict[str, Any]:
        answer = await self.client.request(method, f"/api/v1{path}", **what)
        if answer.is_error:
            raise Failed(f"{method} {path} was answered {answer.status_code}: {answer.text[:500]}")
        return answer.json()


@contextmanager
def launched(stage: Stage, data: Path, port: int) -> Generator[subprocess.Popen[bytes]]:
    """`machete up` on this data, not waited for."""
    arguments = ",".join(f"{name}={value}" for name, value in build_args().items())
    env = stage.environment(
        MACHETE_DATA=str(data),
        MACHETE_GIT_PROTOCOLS="https,ssh,http",
        **({"MACHETE_BUILD_ARGS": arguments} if arguments else {}),
    )
    log = data.with_suffix(".log")
    with running([MACHETE, "up", "--port", str(port)], env, log) as process:
        yield process


async def healthy(process: subprocess.Popen[bytes], data: Path, port: int, within: float = 60.0) -> float:
    """When `/api/health` first said that all is ready, on the clock of `time.monotonic`."""
    try:
        return await first_answer(port, HEALTH, within=within)
    except Exception as problem:
        said = data.with_suffix(".log").read_text(errors="replace")[-2000:]
        raise Failed(f"`machete up` ({process.poll()}) did not become healthy: {problem}\n{said}") from problem


@asynccontextmanager
async def platform(stage: Stage, data: Path) -> AsyncGenerator[Platform]:
    """A healthy one, whose traces on the engine will be removed with the stage."""
    port = free_port()
    with launched(stage, data, port) as process:
        await healthy(process, data, port)
        stage.remember(await instance_of(data))
        token = (data / "admin.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=60) as client:
            yield Platform(data, port, process, client)


async def instance_of(data: Path) -> str:
    """The id of the platform that runs on this data."""
    passwords = json.loads((data / "nats" / "credentials.json").read_text())
    port = int((data / "nats" / "port").read_text())
    user = "gateway"
    async with connect(
        f"nats://127.0.0.1:{port}", user=user, password=passwords[user], service=user, source="bench"
    ) as bus:
        return await provisioned(bus)
