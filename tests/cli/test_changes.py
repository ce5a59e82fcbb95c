"""A change is shown until it has ended, and the exit code says how it ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from httpx import AsyncClient as Api

from libs.contracts.tools import ToolState
from tests.cli.hands import Shell, Worker

URL = "https://git.example.org/tools/sample.git"


async def accepted(api: Api, name: str) -> dict[str, Any]:
    """An install that nobody works on yet, as its 202 shows it."""
    answer = await api.post("/api/v1/tools", json={"git_url": URL, "name": name})
    assert answer.status_code == 202, answer.text
    return answer.json()["operation"]


async def installed(api: Api, worker: Worker, name: str) -> dict[str, Any]:
    operation = await accepted(api, name)
    await (await worker.begin(operation)).succeed(ToolState.STOPPED)
    return operation


async def newest(api: Api, name: str, after: str = "") -> dict[str, Any]:
    """The newest operation of a tool, as soon as there is one, another than `after`."""
    async with asyncio.timeout(20):
        while True:
            answer = await api.get("/api/v1/operations", params={"tool": name, "limit": 1})
            found = answer.json().get("operations", [])
            if found and found[0]["id"] != after:
                return found[0]
            await asyncio.sleep(0.05)


async def test_an_install_shows_its_steps_and_lines_and_where_the_tool_answers(shell: Shell, api: Api, worker: Worker):
    running = await shell.begin("install", URL, "--name", "shown", "--start")
    work = await worker.begin(await newest(api, "shown"))
    await work.step("fetch")
    await running.until("● fetch: running")
    await work.say("Cloning into sample", "done")
    assert "Cloning into sample" in await running.until("  done")
    await work.step("fetch", "succeeded")
    await running.until("● fetch: succeeded")
    await work.step("build")
    await running.until("● build: running")
    await work.step("build", "succeeded")
    await work.succeed(ToolState.RUNNING, ("http://127.0.0.1:18080/",))
    said = await running.end()
    assert said.code == 0, said
    assert "install shown: succeeded" in said.out
    assert "shown answers at http://127.0.0.1:18080/" in said.out


async def test_a_failed_operation_is_exit_code_1_with_its_reason_and_last_lines(shell: Shell, api: Api, worker: Worker):
    running = await shell.begin("install", URL, "--name", "broken")
    work = await worker.begin(await newest(api, "broken"))
    await work.fail("build_failed", "The build failed: RUN make ended with 2.", {"log": ["make: *** [all] Error 2"]})
    said = await running.end()
    assert said.code == 1
    assert "install broken: failed" in said.out
    assert "build_failed: The build failed: RUN make ended with 2." in said.err
    assert "make: *** [all] Error 2" in said.err


async def test_what_was_shown_as_it_happened_is_not_said_again_at_the_end(shell: Shell, api: Api, worker: Worker):
    running = await shell.begin("install", URL, "--name", "told-once")
    work = await worker.begin(await newest(api, "told-once"))
    await work.step("build")
    await work.say("make: *** [all] Error 2")
    await work.step("build", "failed")
    await work.say("The build failed: its last lines say why.")
    await work.fail("build_failed", "The build failed: its last lines say why.", {"log": ["make: *** [all] Error 2"]})
    said = await running.end()
    assert said.err == "build_failed: The build failed: its last lines say why.\n"
    assert said.out.splitlines()[1:] == [
        "● build: running",
        "  make: *** [all] Error 2",
        "● build: failed",
        "install told-once: failed",
    ]


async def test_several_mistakes_are_said_one_a_line_and_each_once(shell: Shell, api: Api, worker: Worker):
    running = await shell.begin("install", URL, "--name", "mistaken")
    work = await worker.begin(await newest(api, "mistaken"))
    faults = ["machete.yml:3: no port", "machete.yml:4: no path"]
    await work.fail("manifest_invalid", "machete.yml:3: no port (and 1 more)", {"faults": faults})
    assert (await running.end()).err == "manifest_invalid: machete.yml:3: no port\n  machete.yml:4: no path\n"


async def test_interrupted_it_says_that_the_operation_goes_on_and_how_to_end_it(shell: Shell, api: Api):
    running = await shell.begin("install", URL, "--name", "left-alone")
    operation = await newest(api, "left-alone")
    await running.until(operation["id"])
    running.interrupt()
    said = await running.end()
    assert said.code == 130
    assert f"machete cancel {operation['id']}" in said.err
    shown = (await api.get(f"/api/v1/operations/{operation['id']}")).json()
    assert (shown["state"], shown["cancel_requested"]) == ("accepted", False)


async def test_a_cancel_waits_for_the_end_and_is_done_when_that_is_cancelled(shell: Shell, api: Api, worker: Worker):
    operation = await accepted(api, "unwanted")
    work = await worker.begin(operation)
    running = await shell.begin("cancel", operation["id"])
    await running.until("install unwanted")
    await work.cancelled()
    said = await running.end()
    assert said.code == 0, said
    assert "install unwanted: cancelled" in said.out


async def test_a_cancel_that_came_too_late_is_refused_with_how_it_ended(shell: Shell, api: Api, worker: Worker):
    operation = await accepted(api, "too-late")
    await (await worker.begin(operation)).succeed()
    said = await shell.run("cancel", operation["id"])
    assert said.code == 4
    assert "has succeeded" in said.err


@pytest.mark.parametrize("action", ["build", "start", "stop", "restart"])
async def test_each_change_of_a_tool_is_asked_for_and_waited_for(shell: Shell, api: Api, worker: Worker, action: str):
    name = f"to-{action}"
    first = await installed(api, worker, name)
    running = await shell.begin(action, name)
    operation = await newest(api, name, first["id"])
    assert operation["kind"] == action
    await (await worker.begin(operation)).succeed()
    said = await running.end()
    assert said.code == 0, said
    assert f"{action} {name}: succeeded" in said.out
    assert f"waits for {first['id']}" in said.out


async def test_options_reach_the_platform(shell: Shell, api: Api, worker: Worker):
    await installed(api, worker, "optional")
    stopped = await shell.run("stop", "optional", "--now", "--no-wait", "--json")
    gone = await shell.run("uninstall", "optional", "--now", "--data", "--yes", "--no-wait", "--json")
    assert [each.json["operation"]["kind"] for each in (stopped, gone)] == ["stop", "uninstall"]
    chosen = ("--name", "chosen", "--ref", "v1", "--subdir", "a/b", "--start", "--no-wait", "--json")
    accepted = await shell.run("install", URL, *chosen)
    tool = await api.get("/api/v1/tools/chosen", params={"position": accepted.json["position"]})
    assert tool.json()["source"] == {"git_url": URL, "ref": "v1", "subdir": "a/b"}


async def test_with_json_nothing_but_json_is_on_standard_output(shell: Shell, api: Api, worker: Worker):
    running = await shell.begin("install", URL, "--name", "machine", "--json")
    work = await worker.begin(await newest(api, "machine"))
    await work.step("fetch")
    await work.say("not for standard output")
    await work.succeed()
    said = await running.end()
    assert said.code == 0
    assert (said.json["state"], said.json["tool_name"]) == ("succeeded", "machine")
    refusal = await shell.run("start", "nobody", "--json")
    assert refusal.code == 4
    assert refusal.json["error"]["code"] == "tool_not_found"


async def test_with_json_a_refusal_tells_all_that_the_platform_said(shell: Shell, api: Api, worker: Worker):
    await installed(api, worker, "busy")
    while (answer := await api.post("/api/v1/tools/busy/start")).status_code == 202:
        continue
    refusal = (await shell.run("restart", "busy", "--json")).json["error"]
    assert answer.json()["code"] == refusal["code"] == "too_many_waiting"
    assert (refusal["scope"], refusal["waiting"], refusal["limit"]) == ("tool", 100, 100)
    assert refusal["retry_after"] >= 1
    assert "stop it with `now`" in refusal["message"]


async def test_nobody_is_asked_where_nobody_can_answer(shell: Shell, api: Api, worker: Worker):
    await installed(api, worker, "precious")
    said = await shell.run("uninstall", "precious")
    assert said.code == 2
    assert "--yes" in said.err
    assert (await newest(api, "precious"))["kind"] == "install"
