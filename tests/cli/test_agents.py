"""`machete agent`: its file is for its owner alone, shown once, and lets its holder into NATS."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncGenerator
from pathlib import Path

import nats
import pytest

from libs.runtime.bus.connecting import close, servers_of
from tests.cli.hands import Shell
from tests.gateway.doors import Door, door
from tests.support.stage import Stage


@pytest.fixture(scope="module")
async def gateway(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Door]:
    async with door(stage, tmp_path_factory.mktemp("agents")) as there:
        yield there


@pytest.fixture
def shell(gateway: Door, tmp_path: Path) -> Shell:
    return Shell(tmp_path, MACHETE_URL=str(gateway.client.base_url).rstrip("/"), MACHETE_TOKEN=gateway.token)


async def test_the_file_lets_its_holder_in(stage: Stage, shell: Shell, tmp_path: Path):
    path = tmp_path / "robot.creds"
    added = await shell.run("agent", "add", "robot", "--role", "operator", "--output", str(path))
    assert added.code == 0, added
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f"restart_degraded.py {stage.server.url} robot {path}" in added.out
    assert "SEED" not in added.out + added.err
    servers = servers_of(stage.server.url)
    client = await nats.connect(
        servers, user_credentials=str(path), inbox_prefix=b"_INBOX_agent.robot", allow_reconnect=False
    )
    answer = await client.request("machete.agent.v1.robot.tools.start", b'{"name": "nobody"}', timeout=10)
    assert (answer.headers or {})["Machete-Status"] == "404"
    await close(client)


async def test_a_file_that_is_there_is_not_written_over_and_nobody_is_added(shell: Shell, tmp_path: Path):
    path = tmp_path / "mine.creds"
    path.write_text("mine")
    refused = await shell.run("agent", "add", "overwriter", "--output", str(path), "--json")
    assert (refused.code, refused.json["error"]["code"]) == (2, "file_exists")
    assert path.read_text() == "mine"
    assert "overwriter" not in (await shell.run("agent", "list")).out


async def test_an_agent_that_is_refused_leaves_no_file(shell: Shell, tmp_path: Path):
    for name, role, code in (("Bad Name", "viewer", "agent_name_invalid"), ("king", "king", "invalid_request")):
        path = tmp_path / "refused.creds"
        refused = await shell.run("agent", "add", name, "--role", role, "--output", str(path), "--json")
        assert (refused.code, refused.json["error"]["code"]) == (4, code)
        assert not path.exists()


async def test_agents_are_listed_and_removed(shell: Shell, tmp_path: Path):
    await shell.run("agent", "add", "short-lived", "--output", str(tmp_path / "a.creds"))
    listed = json.loads((await shell.run("agent", "list", "--json")).out)["agents"]
    assert ("short-lived", "viewer") in {(each["name"], each["role"]) for each in listed}
    assert "short-lived" in (await shell.run("agent", "list")).out
    assert (await shell.run("agent", "remove", "short-lived")).code == 0
    assert "short-lived" not in (await shell.run("agent", "list")).out
    again = await shell.run("agent", "remove", "short-lived", "--json")
    assert (again.code, again.json["error"]["code"]) == (4, "agent_not_found")
