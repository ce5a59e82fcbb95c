"""While the platform is away the command waits, and nothing is done twice."""

from __future__ import annotations

import asyncio

import pytest
from httpx import AsyncClient as Api

from libs.contracts.tools import ToolState
from tests.cli.hands import Shell, Worker
from tests.cli.test_changes import URL, newest
from tests.support.stage import Stage

# Longer than the gateway waits for NATS, so that it answers 503.
AWAY = 9.0


@pytest.mark.timeout(180)
async def test_a_request_that_met_a_dead_bus_is_asked_again_and_carried_out_once(shell: Shell, api: Api, stage: Stage):
    stage.server.pause()
    running = await shell.begin("install", URL, "--name", "patient", "--no-wait", "--json")
    await asyncio.sleep(AWAY)
    stage.server.resume()
    said = await running.end()
    assert said.code == 0, said
    operation = await newest(api, "patient")
    assert operation["id"] == said.json["operation"]["id"]
    found = (await api.get("/api/v1/operations", params={"tool": "patient"})).json()["operations"]
    assert len(found) == 1


@pytest.mark.timeout(180)
async def test_who_waits_is_told_of_an_outage_and_sees_all_that_came_after(
    shell: Shell, api: Api, worker: Worker, stage: Stage
):
    running = await shell.begin("install", URL, "--name", "waited-for")
    work = await worker.begin(await newest(api, "waited-for"))
    await work.say("before the outage")
    await running.until("before the outage")
    await stage.crash()
    await work.say("after the outage")
    await running.until("after the outage")
    await work.step("build")
    await work.succeed(ToolState.STOPPED)
    said = await running.end()
    assert said.code == 0, said
    assert said.out.count("before the outage") == 1
