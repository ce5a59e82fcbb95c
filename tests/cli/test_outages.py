"""While the platform is away the command waits, and nothing is done twice."""

from __future__ import annotations

import asyncio

import pytest
from httpx import AsyncClient as Api

from libs.contracts.tools import ToolState
from libs.runtime.bus.logs import LogWriter
from tests.cli.hands import Shell, Worker
from tests.cli.test_changes import URL, newest
from tests.cli.test_looks import accepted, installed
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


@pytest.mark.timeout(180)
async def test_a_followed_log_goes_on_after_an_outage_with_each_line_once(
    shell: Shell, api: Api, worker: Worker, stage: Stage
):
    operation = await installed(api, worker, "chatty")
    log = LogWriter(stage.witness, operation["tool"], "web")
    lines = [f"line {number}" for number in range(5)]
    await log.write(lines)
    await log.flush()
    running = await shell.begin("logs", "-f", "chatty", "--tail", "2")
    await running.until("line 4\n")
    await stage.crash()
    await log.write(["in between"])
    await log.flush()
    await running.until("in between\n")
    await log.write(["at last"])
    await log.flush()
    await running.until("at last\n")
    running.interrupt()
    said = await running.end()
    assert said.out.splitlines() == ["line 3", "line 4", "in between", "at last"]


@pytest.mark.timeout(180)
async def test_the_followed_log_of_an_operation_ends_with_it_and_not_with_an_outage(
    shell: Shell, api: Api, worker: Worker, stage: Stage
):
    operation = await accepted(api, "followed")
    work = await worker.begin(operation)
    await work.say("before the outage")
    running = await shell.begin("logs", "-f", operation["id"])
    await running.until("before the outage\n")
    await stage.crash()
    await work.say("after the outage")
    await running.until("after the outage\n")
    await work.succeed(ToolState.STOPPED)
    said = await running.end()
    assert (said.code, said.out.splitlines()) == (0, ["before the outage", "after the outage"])
