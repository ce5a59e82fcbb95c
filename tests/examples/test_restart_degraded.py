"""The example of an agent, run as its own text says, against a platform with a tool that really degrades."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.setup.images import BUSYBOX
from libs.runtime.nats_keys import credentials_file, new_user
from tests.gateway.doors import door
from tests.support.platform import Platform, whole_platform
from tests.support.platform_stacks import did, installed, service, stack, waits
from tests.support.platform_tools import Files
from tests.support.platform_waiting import until
from tests.support.stage import staged

AGENT = Path(__file__).parents[2] / "examples" / "agents" / "restart_degraded.py"
MACHETE = Path(sys.executable).with_name("machete")
NAME = "night-watch"


def falls_ill() -> Files:
    """Well from each start on, until there is a file `ill` in its data folder."""
    script = "trap 'exit 0' TERM; rm -f /data/ill; httpd -f -p 8080 -h /www & wait $!"
    check = json.dumps(["sh", "-c", "[ ! -e /data/ill ]"])
    lines = [
        f"FROM {BUSYBOX}",
        "COPY index.html /www/index.html",
        f"HEALTHCHECK --interval=1s --timeout=5s --retries=1 CMD {check}",
        f"CMD {json.dumps(['sh', '-c', script])}",
    ]
    manifest = {"version": "1.0.0", "machete": {"port": 8080, "volumes": ["./data:/data"]}}
    return {
        "Dockerfile": "\n".join(lines).encode(),
        "index.html": b"well",
        "machete.yml": json.dumps(manifest).encode(),
    }


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncGenerator[Platform]:
    async with whole_platform(tmp_path) as there:
        yield there


@asynccontextmanager
async def watching(platform: Platform, credentials: Path) -> AsyncGenerator[asyncio.subprocess.Process]:
    argv = [sys.executable, "-I", str(AGENT), platform.nats_url, NAME, str(credentials)]
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"watching\n"
        yield process
    finally:
        process.kill()
        await process.wait()


async def machete(platform: Platform, *arguments: str) -> tuple[int, str]:
    environment = {**os.environ, "MACHETE_DATA": str(platform.data)}
    process = await asyncio.create_subprocess_exec(
        MACHETE,
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_a_tool_that_degrades_is_restarted_by_the_agent_and_is_well_again(platform: Platform, tmp_path: Path):
    install = await platform.api.install("patient", platform.forge.tool("patient", falls_ill()), start=True)
    await platform.api.done(install)
    before = await platform.hand.inspect(install.tool)
    credentials = tmp_path / f"{NAME}.creds"
    code, out = await machete(platform, "agent", "add", NAME, "--role", "operator", "--output", str(credentials))
    assert code == 0, out
    async with watching(platform, credentials) as agent:
        (platform.folder_of(install.tool) / "data" / "data" / "ill").touch()
        assert agent.stdout is not None
        async with asyncio.timeout(60):
            said = (await agent.stdout.readline()).decode()
        assert said.startswith("patient ")
        assert "unhealthy" in said
        assert " 202 " in said

        async def restarted() -> dict[str, Any] | None:
            tool = await platform.api.tool("patient")
            return tool if tool["state"] == "running" and tool["operation"] is None else None

        await until(restarted, "it is well again")
    page = await platform.api.get("/api/v1/operations", tool="patient")
    restarts = [each["requested_by"] for each in page["operations"] if each["kind"] == "restart"]
    assert restarts == [f"agent:{NAME}"]
    after = await platform.hand.inspect(install.tool)
    assert after["State"]["StartedAt"] > before["State"]["StartedAt"]


async def test_what_is_stopped_in_order_is_not_taken_for_ill_though_it_degrades_on_the_way(
    platform: Platform, tmp_path: Path
):
    slow = service("trap 'sleep 2; exit 0' TERM; sleep 5000 & wait $!")
    files = stack({"slow": slow, "quick": waits(depends_on=["slow"])})
    name, install = await installed(platform, files)
    credentials = tmp_path / f"{NAME}.creds"
    code, out = await machete(platform, "agent", "add", NAME, "--role", "operator", "--output", str(credentials))
    assert code == 0, out
    async with watching(platform, credentials):
        assert (await did(platform, "stop", name))["state"] == "stopped"
        assert "degraded" in [each.state for each in await platform.observed(install.tool)]
        # What it asked for in between would come before this.
        assert (await did(platform, "start", name))["state"] == "running"
    page = await platform.api.get("/api/v1/operations", tool=name)
    asked = [(each["kind"], each["requested_by"]) for each in page["operations"] if "agent" in each["requested_by"]]
    assert asked == []


def said_at_once(*arguments: str) -> str:
    argv = [sys.executable, "-I", str(AGENT), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


def test_without_arguments_it_says_which_it_takes():
    assert said_at_once().startswith("usage: ")


async def test_what_keeps_it_from_connecting_is_one_line(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"nats://127.0.0.1:{taken.getsockname()[1]}"
        assert nobody in said_at_once(nobody, NAME, str(tmp_path / "missing.creds"))
    async with staged() as stage, door(stage, tmp_path / "gateway"):
        stranger = tmp_path / "stranger.creds"
        stranger.write_text(credentials_file(new_user(), "eyJ0.eyJ0.e30"))
        refused = await asyncio.to_thread(said_at_once, stage.server.url, NAME, str(stranger))
        assert "uthorization" in refused
        missing = await asyncio.to_thread(said_at_once, stage.server.url, NAME, str(tmp_path / "missing.creds"))
        assert "missing.creds" in missing


def test_it_is_a_screenful_and_imports_nothing_of_ours():
    text = AGENT.read_text()
    nodes = list(ast.walk(ast.parse(text)))
    plain = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    imported = {*plain, *(node.module or "" for node in nodes if isinstance(node, ast.ImportFrom))}
    assert imported <= {"nats", *sys.stdlib_module_names}
    assert len([line for line in text.splitlines() if line.strip()]) <= 40
