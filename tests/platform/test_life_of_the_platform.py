"""The platform is stopped, started, killed and upgraded, and its tools do not notice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest

from libs.runtime.bus.connecting import close
from tests.support.platform_api import Api
from tests.support.platform_checks import fresh
from tests.support.platform_containers import SERVERS, SERVICES, ContainedPlatform, free_ports, run
from tests.support.platform_tools import talkative, web
from tests.support.platform_waiting import until


async def running_tool(platform: ContainedPlatform, files: dict[str, bytes] | None = None) -> tuple[str, str]:
    """The name and id of a new one."""
    name = fresh("tool")
    install = await platform.api.install(name, platform.forge.tool(fresh("repo"), files or web()), start=True)
    ended = await platform.api.done(install)
    assert ended["state"] == "succeeded", ended
    return name, install.tool


async def test_down_and_up_leave_a_tool_running_and_start_one_that_ended_meanwhile(
    platform: ContainedPlatform, api: Api
) -> None:
    name, tool = await running_tool(platform, talkative())
    other, ended = await running_tool(platform)
    before, shown = await platform.hand.inspect(tool), await api.tool(name)
    await platform.down()
    assert (await platform.hand.inspect(tool))["State"]["Running"]
    async with httpx.AsyncClient() as client:
        assert (await client.get(shown["urls"][0])).status_code == 200
    await platform.hand.kill(ended)
    await platform.up()
    assert await api.tool(name) == shown
    after = await platform.hand.inspect(tool)
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
    said = [line["text"] for line in await api.all_lines(f"/api/v1/tools/{name}/logs")]
    assert said[:3] == ["line 0", "line 1", "line 2"]

    async def runs_again() -> bool:
        return bool(await platform.hand.running(ended)) and (await api.tool(other))["state"] == "running"

    await until(runs_again, "what should run and did not is started")
    # And they are still ours to operate.
    assert (await api.done(await api.stop(name)))["state"] == "succeeded"


@pytest.mark.parametrize("service", [*SERVICES, *SERVERS])
async def test_what_is_killed_comes_back_and_the_platform_works(
    platform: ContainedPlatform, api: Api, service: str
) -> None:
    name, tool = await running_tool(platform)
    before = platform.inspect(service)
    os.kill(before["State"]["Pid"], signal.SIGKILL)

    def back() -> bool:
        state = platform.inspect(service)["State"]
        return state["StartedAt"] != before["State"]["StartedAt"] and state["Health"]["Status"] == "healthy"

    await until(back, f"{service} is back", 90)
    restart = await asked_until_accepted(api, name)
    assert (await api.done(restart))["state"] == "succeeded"
    assert (await api.tool(name))["state"] == "running"
    assert platform.inspect(service)["Id"] == before["Id"]
    assert (await platform.hand.inspect(tool))["State"]["Running"]


async def asked_until_accepted(api: Api, name: str) -> Any:
    """Whoever depends on what was killed needs a moment to be connected again, and answers 503 until then."""

    async def ask() -> Any:
        try:
            return await api.restart(name)
        except AssertionError as refusal:
            if getattr(refusal, "status", None) == 503:
                return None
            raise

    return await until(ask, "a command is accepted", 60)


async def test_up_a_second_time_changes_nothing_and_the_line_it_prints_is_all_that_the_machete_command_needs(
    platform: ContainedPlatform,
) -> None:
    name, _ = await running_tool(platform)
    before = standing(platform)
    said = await platform.up()
    assert standing(platform) == before
    assert f"MACHETE is up at {platform.url()}" in said
    (line,) = [line.strip() for line in said.splitlines() if line.strip().startswith("export ")]
    exported = dict(word.split("=", 1) for word in line.split()[1:])
    done = await asyncio.to_thread(run, [".venv/bin/machete", "list", "--json"], {**platform.environment, **exported})
    assert done.returncode == 0, done.stderr
    assert name in [tool["name"] for tool in json.loads(done.stdout)["tools"]]


def standing(platform: ContainedPlatform) -> dict[str, Any]:
    """What must stay as it is."""
    found: dict[str, Any] = {
        each: (container["Id"], container["State"]["StartedAt"])
        for each, container in ((name, platform.inspect(name)) for name in (*SERVICES, *SERVERS))
    }
    kept = ("admin.token", "nats/server.json", "gateway/nats/credentials.json", "secrets/postgres.json")
    return {**found, **{name: (platform.data / name).read_text() for name in kept}}


async def refused_up(platform: ContainedPlatform, folder: Path, **changed: object) -> str:
    """What is said to the same settings as another project, on which nothing may be started."""
    settings = {"COMPOSE_PROJECT_NAME": "machete-test-second", "MACHETE_DATA": folder / "data", **changed}
    second = folder / "second.env"
    lines = [line for line in platform.env_file.read_text().splitlines() if line.partition("=")[0] not in settings]
    second.write_text("\n".join([*lines, *(f"{name}={value}" for name, value in settings.items())]))
    done = await asyncio.to_thread(
        run, ["python3", "-m", "deploy.platform", "up", "--env-file", str(second)], platform.environment
    )
    assert done.returncode == 1
    assert not (folder / "data").exists()
    return done.stderr


async def test_a_port_that_somebody_else_has_is_named_before_anything_starts(
    platform: ContainedPlatform, tmp_path: Path
) -> None:
    """Its front's port is taken, by this platform."""
    said = await refused_up(platform, tmp_path)
    assert f"port {platform.port} on 127.0.0.1 is taken" in said
    assert "MACHETE_PORT" in said


async def test_addresses_that_somebody_else_has_are_named_before_anything_starts(
    platform: ContainedPlatform, tmp_path: Path
) -> None:
    """Its networks' addresses are taken, by this platform."""
    names = ("MACHETE_PORT", "MACHETE_NATS_PORT", "MACHETE_ORCHESTRATOR_PORT")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    said = await refused_up(platform, tmp_path, **ports)
    assert "has addresses in 10.212." in said
    assert "MACHETE_NETWORK_PREFIX" in said


async def test_an_agent_asks_over_the_published_nats_port(platform: ContainedPlatform, api: Api) -> None:
    agent = fresh("agent")
    made = await api.client.post("/api/v1/agents", json={"name": agent, "role": "viewer"})
    assert made.status_code == 201, made.text
    credentials = platform.env_file.with_name(f"{agent}.creds")
    credentials.write_text(made.json()["credentials"])
    connection = await nats.connect(
        platform.nats_url, user_credentials=str(credentials), inbox_prefix=made.json()["inbox_prefix"]
    )
    try:
        answer = await connection.request(f"machete.agent.v1.{agent}.tools.list", b"{}", timeout=10)
        assert "tools" in json.loads(answer.data)
    finally:
        await close(connection)
