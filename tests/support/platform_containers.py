"""The platform in containers, started as people start it: by `make up`'s own program, on docker-compose.yml itself.

    async with contained_platform(folder) as platform:
        platform.compose("restart", "gateway")

Project, ports, networks and data are its own; leaving removes all of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.setup.images import BUSYBOX
from libs.contracts.names import random_word
from libs.runtime import loopback
from libs.runtime.bus.connecting import connect
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.provision import provisioned
from tests.support.platform import TIMES, Platform
from tests.support.platform_api import Api
from tests.support.platform_engine import OtherHand
from tests.support.platform_tools import Forge, Gate

ROOT = Path(__file__).parents[2]
SERVICES = ("gateway", "installer", "orchestrator", "status")
SERVERS = ("caddy", "nats", "postgres")


@dataclass
class ContainedPlatform(Platform):
    """`env_file` has all settings; `said` is what services logged in containers that are gone."""

    env_file: Path = Path()
    port: int = 0
    said: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def url(self, service: str = "gateway") -> str:
        return f"http://127.0.0.1:{self.port}"

    def api_of(self, service: str = "gateway") -> Api:
        return Api(self.url(), (self.data / "admin.token").read_text().strip())

    def as_user(self, user: str) -> AbstractAsyncContextManager[Bus]:
        passwords = json.loads((self.data / "secrets" / "nats.json").read_text())
        return connect(self.nats_url, user=user, password=passwords[user], service=user, source=f"{user}/test")

    def folder_of(self, tool: str) -> Path:
        return self.data / "orchestrator" / "tools" / tool

    async def up(self) -> str:
        """What `make up` runs; returns what it said. Raises AssertionError where it fails."""
        return await asyncio.to_thread(self._program, "up")

    async def down(self) -> str:
        self.said += self._logs()
        return await asyncio.to_thread(self._program, "down")

    def _program(self, action: str) -> str:
        argv = [sys.executable, "-m", "deploy.platform", action, "--env-file", str(self.env_file)]
        done = run(argv, self.environment)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.compose('logs', '--tail', '40')}"
        return done.stdout

    def compose(self, *arguments: str) -> str:
        """Also about the servers that there are in a cluster alone."""
        environment = {**self.environment, "COMPOSE_PROFILES": "cluster"}
        done = run(["docker", "compose", "--env-file", str(self.env_file), *arguments], environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine knows of this service's container."""
        identity = self.compose("ps", "--all", "--quiet", service).strip()
        return json.loads(run(["docker", "inspect", identity], self.environment).stdout)[0]

    def within(self, service: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """Runs a program inside the service's container."""
        return run(["docker", "exec", self.inspect(service)["Id"], *argv], self.environment)

    def _logs(self) -> list[tuple[str, str]]:
        return [
            (name, line) for name in SERVICES for line in self.compose("logs", "--no-log-prefix", name).splitlines()
        ]

    def complaints(self) -> list[str]:
        return [f"{name}: {line[:3000]}" for name, line in [*self.said, *self._logs()] if '"exception"' in line]


def run(argv: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)


def reachable_from_containers() -> str:
    """An address of this machine that containers of any network reach."""
    template = "{{(index .IPAM.Config 0).Gateway}}"
    return run(["docker", "network", "inspect", "bridge", "--format", template], dict(os.environ)).stdout.strip()


@asynccontextmanager
async def contained_platform(folder: Path, nats_servers: int = 1) -> AsyncGenerator[ContainedPlatform]:
    async with AsyncExitStack() as stack:
        platform = _described(stack, folder, nats_servers)
        stack.callback(platform.compose, "down", "--remove-orphans", "--timeout", "5")
        await platform.up()
        platform.bus = await stack.enter_async_context(platform.as_user("platform"))
        platform.instance = await provisioned(platform.bus)
        platform.hand = OtherHand(platform.instance)
        stack.callback(platform.hand.close)
        stack.callback(platform.hand.sweep)
        # Before the engine is swept: nobody may make anything new meanwhile.
        stack.callback(platform.compose, "stop", "--timeout", "5", *SERVICES)
        platform.api = await stack.enter_async_context(platform.api_of())
        yield platform


def _described(stack: AsyncExitStack, folder: Path, nats_servers: int) -> ContainedPlatform:
    forge = stack.enter_context(Forge(folder / "git", reachable_from_containers()))
    gate = stack.enter_context(Gate())
    port, health, nats, second, third = free_ports(5)
    settings = {
        **TIMES,
        "COMPOSE_PROJECT_NAME": f"machete-test-{random_word(6)}",
        "MACHETE_DATA": str(folder / "data"),
        "MACHETE_PORT": str(port),
        "MACHETE_NATS_SERVERS": str(nats_servers),
        "MACHETE_NATS_PORT": str(nats),
        "MACHETE_NATS_PORT_2": str(second),
        "MACHETE_NATS_PORT_3": str(third),
        "MACHETE_ORCHESTRATOR_PORT": str(health),
        "MACHETE_NETWORK_PREFIX": f"10.212.{random.randrange(1, 250)}",
        "MACHETE_GIT_PROTOCOLS": "https,http",
        "MACHETE_STOP_TIMEOUT": "3",
        "MACHETE_BUILD_ARGS": f"BASE_IMAGE={BUSYBOX}",
    }
    env_file = folder / "platform.env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    foreign = ("MACHETE_", "COMPOSE_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    made = ContainedPlatform(folder / "data", environment, forge, gate, env_file=env_file, port=port)
    made.nats_url = ",".join(f"nats://127.0.0.1:{each}" for each in (nats, second, third)[:nats_servers])
    return made


def free_ports(count: int) -> list[int]:
    """Below those that tools and clients get, and not given to another platform under test."""
    start = random.randrange(18_000, 19_500)
    return [port for port in range(start, start + 500) if loopback.is_free(port)][:count]
