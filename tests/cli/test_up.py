"""`machete up`: one command from nothing to a platform that answers, and nothing left of it when it ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.hands import Running, Shell, closed_port
from tests.support.platform_process import belonging_to
from tests.support.processes import until

pytestmark = pytest.mark.timeout(180)


@asynccontextmanager
async def up(shell: Shell, data: Path, port: int = 0) -> AsyncGenerator[tuple[Running, str]]:
    """A platform, and where it answers. Ended in the end, if the test did not."""
    running = await shell.begin("up", "--data", str(data), "--port", str(port))
    try:
        await running.until("Ctrl-C stops the platform.")
        yield running, json.loads((data / "lock").read_text())["url"]
    finally:
        running.terminate()
        await running.end()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "not" / "there" / "yet"


async def test_from_nothing_to_a_platform_that_the_command_finds(lost: Shell, data: Path):
    async with up(lost, data) as (running, url), httpx.AsyncClient(base_url=url) as stranger:
        assert url in running.out
        assert str(data / "admin.token") in running.out
        assert (data / "admin.token").read_text().strip() not in running.out
        assert stat.S_IMODE((data / "admin.token").stat().st_mode) == 0o600
        report = (await stranger.get("/api/health")).json()
        assert report["ready"]
        assert set(report["services"]) == {"gateway", "installer", "orchestrator", "status"}
        assert (await stranger.get("/api/v1/tools")).status_code == 401
        listed = await lost.run("list", "--json", MACHETE_DATA=str(data))
        assert listed.json == {"tools": []}
        examined = (await lost.run("doctor", "--json", MACHETE_DATA=str(data))).json
        states = {each["name"]: each["state"] for each in examined["checks"]}
        assert (states["platform"], states["port"], states["nats port"]) == ("ok", "ok", "ok")


async def test_for_programs_it_says_where_it_is_as_json(lost: Shell, data: Path):
    running = await lost.begin("up", "--data", str(data), "--port", "0", "--json")
    said = json.loads(await running.until("}\n"))
    running.terminate()
    assert (await running.end()).code == 0
    assert said["data"] == str(data)
    assert said["url"].startswith("http://127.0.0.1:")
    assert said["token_file"] == str(data / "admin.token")


async def test_a_second_start_on_the_same_data_says_who_holds_it(lost: Shell, data: Path):
    async with up(lost, data) as (running, url):
        said = await lost.run("up", "--data", str(data), "--port", "0")
        assert said.code == 2
        assert f"process {running.pid}" in said.err
        assert url in said.err


async def test_a_taken_port_is_said_before_anything_starts(lost: Shell, data: Path):
    holder = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = holder.sockets[0].getsockname()[1]
    async with holder:
        said = await lost.run("up", "--data", str(data), "--port", str(port))
    assert said.code == 2
    assert str(port) in said.err
    assert not (data / "nats").exists()
    assert belonging_to(data) == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_it_leaves_nothing_behind_and_can_start_again(lost: Shell, data: Path, number: int):
    async with up(lost, data) as (running, _):
        token = (data / "admin.token").read_text()
        os.kill(running.pid, number)
        said = await running.end()
        assert said.code == 0, said
        assert belonging_to(data) == {}
    async with up(lost, data) as (_, url), httpx.AsyncClient(base_url=url) as client:
        assert (data / "admin.token").read_text() == token
        assert (await client.get("/api/health")).json()["ready"]


async def test_killed_it_takes_its_nats_server_along(lost: Shell, data: Path):
    async with up(lost, data) as (running, _):
        assert len(belonging_to(data)) >= 2
        os.kill(running.pid, signal.SIGKILL)
        await running.end()
        await until(lambda: not belonging_to(data), within=5)
        listed = await lost.run("list", MACHETE_DATA=str(data))
        assert listed.code == 3


async def test_who_waits_goes_on_after_the_platform_was_killed_and_started_again(lost: Shell, data: Path):
    lost.environment |= {"MACHETE_GIT_PROTOCOLS": "http", "MACHETE_DATA": str(data)}
    port = closed_port()
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as silent:
        url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/never.git"
        async with up(lost, data, port) as (platform, _):
            waiting = await lost.begin("install", url)
            await waiting.until("● fetch: running")
            operation = re.search(r"op-\w+", waiting.out)
            assert operation is not None
            os.kill(platform.pid, signal.SIGKILL)
            await platform.end()
        async with up(lost, data, port):
            cancel = await lost.run("cancel", operation[0])
            said = await waiting.end()
    assert cancel.code == 0, cancel
    assert said.code == 1, said
    assert "does not answer" in said.err
    assert "install never: cancelled" in said.out


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"MACHETE_PROT": "9000"}, "MACHETE_PORT"),
        ({"MACHETE_NATS_URL": "nats://127.0.0.1:4222"}, "brings its own NATS server"),
        ({"MACHETE_HEARTBEAT": "60"}, "MACHETE_HEARTBEAT"),
        ({"NATS_SERVER_BIN": "/bin/true"}, "/bin/true"),
    ],
)
async def test_a_mistake_in_the_settings_is_explained(lost: Shell, data: Path, setting: dict[str, str], said: str):
    ended = await lost.run("up", "--data", str(data), "--port", str(closed_port()), **setting)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert belonging_to(data) == {}


def readable(token: Path) -> None:
    token.parent.mkdir(parents=True)
    token.write_text("x" * 43)
    token.chmod(0o644)


async def test_a_token_that_others_may_read_keeps_it_from_starting(lost: Shell, data: Path):
    readable(data / "admin.token")
    ended = await lost.run("up", "--data", str(data), "--port", "0")
    assert ended.code == 2
    assert "admin.token" in ended.err
    assert "0644" in ended.err
    assert "Traceback" not in ended.err
    assert belonging_to(data) == {}
