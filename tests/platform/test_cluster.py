"""The platform in containers with three NATS servers: any one of them may be away."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy.provisioning import NATS_SERVERS, Owner, files
from tests.platform.test_life_of_the_platform import asked_until_accepted
from tests.support.platform_checks import fresh, succeeded
from tests.support.platform_containers import ContainedPlatform, contained_platform, run
from tests.support.platform_tools import web
from tests.support.platform_waiting import until


@pytest.fixture(scope="module")
async def three(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ContainedPlatform]:
    async with contained_platform(tmp_path_factory.mktemp("three"), nats_servers=3) as platform:
        yield platform


async def test_tools_are_worked_with_while_each_server_in_its_turn_is_killed(three: ContainedPlatform) -> None:
    name = fresh("lathe")
    await succeeded(three, await three.api.install(name, three.forge.tool("web", web()), start=True))
    for server in NATS_SERVERS:
        before = three.inspect(server)["State"]
        os.kill(before["Pid"], signal.SIGKILL)
        await succeeded(three, await asked_until_accepted(three.api, name))
        await until(partial(is_back, three, server, before), f"{server} is back", 60)


def is_back(platform: ContainedPlatform, server: str, before: Mapping[str, Any]) -> bool:
    state = platform.inspect(server)["State"]
    return state["StartedAt"] != before["StartedAt"] and state["Health"]["Status"] == "healthy"


async def test_a_cluster_that_lost_its_majority_is_brought_back_together_with_what_stands_on_it(
    three: ContainedPlatform,
) -> None:
    """Whoever kills a container by hand has the engine leave it; what is left is unhealthy by then, servers and all."""
    ids = [three.inspect(service)["Id"] for service in (*NATS_SERVERS[1:], "gateway")]
    assert run(["docker", "kill", *ids], three.environment).returncode == 0
    for left in (NATS_SERVERS[0], "installer", "orchestrator", "status"):
        await until(partial(is_unhealthy, three, left), f"{left} is unhealthy", 120)
    await three.up()
    name = fresh("lathe")
    await succeeded(three, await three.api.install(name, three.forge.tool("web", web()), start=True))


def is_unhealthy(platform: ContainedPlatform, service: str) -> bool:
    return platform.inspect(service)["State"]["Health"]["Status"] == "unhealthy"


def test_the_number_of_servers_is_not_changed_where_that_would_lose_what_they_keep(three: ContainedPlatform) -> None:
    """And what runs is not touched by the try."""
    config = (three.data / "nats" / "server.json").read_text()
    running = three.compose("ps", "--quiet")
    argv = [sys.executable, "-m", "deploy.platform", "up", "--env-file", str(three.env_file)]
    done = run(argv, {**three.environment, "MACHETE_NATS_SERVERS": "1"})
    assert done.returncode == 1
    assert "was made by 3 of its servers, and MACHETE_NATS_SERVERS=1 would lose it" in done.stderr
    assert (three.data / "nats" / "server.json").read_text() == config
    assert three.compose("ps", "--quiet") == running


@pytest.mark.parametrize("first", [1, 3])
def test_an_empty_store_takes_any_number_of_servers(tmp_path: Path, first: int) -> None:
    owner = Owner(0, 0)
    files(tmp_path, owner, first)
    files(tmp_path, owner, 4 - first)
    (tmp_path / "nats" / "jetstream" / "MACHETE").mkdir()
    files(tmp_path, owner, 4 - first)
    with pytest.raises(ValueError, match=f"was made by {4 - first} of its servers"):
        files(tmp_path, owner, first)
