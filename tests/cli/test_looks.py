"""What is asked for is shown: readable on a narrow screen, whole for programs, inert whatever strangers wrote."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from httpx import AsyncClient as Api

from libs.contracts.tools import ToolState
from libs.runtime.bus.logs import LogWriter
from tests.cli.hands import Shell, Worker
from tests.cli.test_changes import accepted, installed
from tests.support.stage import Stage

HOSTILE = (
    "\x1b]0;owned\x07 \x1b[2J\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\ \x9b31m \u202egnp \x1b[31mred\x1b[0m"
)
LONG = "a-name-that-is-as-long-as-a-name-can-be"


def assert_inert(text: str) -> None:
    assert not [char for char in text if char != "\n" and not char.isprintable()], repr(text)


async def test_tools_and_operations_fit_a_screen_of_80_columns(shell: Shell, api: Api, worker: Worker):
    work = await worker.begin(await accepted(api, LONG))
    await work.succeed(ToolState.RUNNING, ("http://127.0.0.1:18081/",))
    shown = await shell.run("list", COLUMNS="80")
    operations = await shell.run("operations", "--tool", LONG, COLUMNS="80")
    for said in (shown, operations):
        assert said.code == 0, said
        assert max(map(len, said.out.splitlines())) <= 80
    assert "running" in shown.out
    assert "http://127.0.0.1:18081/" in shown.out.replace("\n", "")
    assert "install" in operations.out


async def test_operations_that_do_not_fit_a_page_are_told_of_and_shown_after_it(shell: Shell, api: Api, worker: Worker):
    first = await installed(api, worker, "paged")
    second = (await api.post("/api/v1/tools/paged/start")).json()["operation"]
    page = await shell.run("operations", "--tool", "paged", "--limit", "1")
    assert second["id"] in page.out
    assert first["id"] not in page.out
    more = page.err.split("there are more: add ")[1].split()
    rest = await shell.run("operations", "--tool", "paged", *more)
    assert first["id"] in rest.out
    assert second["id"] not in rest.out
    assert "there are more" not in rest.err


async def test_piped_on_nothing_is_cut(shell: Shell, api: Api, worker: Worker):
    await installed(api, worker, "piped")
    said = await shell.run("list")
    (row,) = [line for line in said.out.splitlines() if line.startswith("piped ")]
    assert "stopped" in row


async def test_a_tool_and_an_operation_are_shown_whole(shell: Shell, api: Api, worker: Worker):
    operation = await installed(api, worker, "whole")
    tool = await shell.run("show", "whole")
    assert {"whole", "stopped", operation["tool"]} <= set(tool.out.split())
    shown = await shell.run("show", operation["id"])
    assert {operation["id"], "install", "succeeded", "user:admin"} <= set(shown.out.split())
    assert (await shell.run("show", "whole", "--json")).json == (await api.get("/api/v1/tools/whole")).json()
    listed = (await shell.run("list", "--json")).json
    assert "whole" in [each["name"] for each in listed["tools"]]


async def test_what_strangers_print_cannot_touch_the_terminal(shell: Shell, api: Api, worker: Worker):
    operation = await accepted(api, "hostile")
    work = await worker.begin(operation)
    await work.say(HOSTILE)
    await work.fail("broken", HOSTILE, {"log": [HOSTILE]})
    for arguments in (("logs", operation["id"]), ("show", operation["id"]), ("logs", operation["id"], "--json")):
        said = await shell.run(*arguments)
        assert said.code == 0
        assert "owned" in said.out
        assert_inert(said.out)
    assert "red" in (await shell.run("logs", operation["id"])).out


async def test_logs_are_followed_until_interrupted(shell: Shell, api: Api, worker: Worker, stage: Stage):
    operation = await installed(api, worker, "chatty")
    log = LogWriter(stage.witness, operation["tool"], "web")
    await log.write([f"line {number}" for number in range(5)])
    await log.flush()
    assert (await shell.run("logs", "chatty", "--tail", "2")).out == "line 3\nline 4\n"
    running = await shell.begin("logs", "-f", "chatty")
    await running.until("line 4\n")
    await log.write(["and one more"])
    await log.flush()
    await running.until("and one more\n")
    running.interrupt()
    assert (await running.end()).code == 130


async def test_lines_for_programs_are_one_object_each(shell: Shell, api: Api, worker: Worker):
    operation = await accepted(api, "objects")
    work = await worker.begin(operation)
    await work.say("one", "two")
    await work.succeed()
    said = await shell.run("logs", operation["id"], "--json")
    assert [json.loads(line)["text"] for line in said.out.splitlines()] == ["one", "two"]
    assert (await shell.run("logs", operation["id"], "--tail", "1")).out == "two\n"


async def test_lines_are_shown_with_their_times_and_since_a_time(shell: Shell, api: Api, worker: Worker, stage: Stage):
    operation = await installed(api, worker, "timely")
    log = LogWriter(stage.witness, operation["tool"], "web")
    await log.write(["first"])
    await log.flush()
    printed = json.loads((await shell.run("logs", "timely", "--json")).out)
    later = (datetime.fromisoformat(printed["time"]) + timedelta(microseconds=1)).isoformat()
    assert (await shell.run("logs", "timely", "--timestamps")).out == f"{printed['time']} first\n"
    for what, count in (("timely", 1), (operation["id"], 0)):
        for since, found in (("10m", count), (printed["time"], count), (later, 0), ("0s", 0)):
            said = await shell.run("logs", what, "--since", since)
            assert (said.code, said.out, said.err) == (0, "first\n" * found, "")


@pytest.mark.parametrize("wrong", ["yesterday", "10", "10 m", "-5m", "99999999d", "2026-13-01"])
async def test_a_time_that_is_none_is_refused_with_what_would_be(shell: Shell, wrong: str):
    said = await shell.run("logs", "timely", f"--since={wrong}")
    assert said.code == 2
    assert "(90s, 10m, 2h, 1d)" in " ".join(said.err.replace("│", " ").split())


@pytest.mark.parametrize(
    "arguments", [["show", "nobody"], ["logs", "nobody"], ["start", "nobody"], ["uninstall", "nobody"]]
)
async def test_what_is_not_there_is_refused_with_exit_code_4(shell: Shell, arguments: list[str]):
    said = await shell.run(*arguments)
    assert said.code == 4
    assert said.err == 'machete: There is no tool "nobody"; `machete list` lists those that there are.\n'
    assert said.out == ""


@pytest.mark.parametrize("command", ["show", "logs", "cancel"])
async def test_an_operation_that_is_not_there_is_refused_in_the_same_words(shell: Shell, command: str):
    said = await shell.run(command, f"op-{'a' * 26}")
    assert said.code == 4
    assert "records are kept for 90 days, and `machete operations` lists them." in said.err


@pytest.mark.parametrize("name", ["a;id", "$(id)", "../x", "", "x" * 300, "a/b", "a?now=true", "ä"])
async def test_a_name_that_is_none_reaches_no_other_address(shell: Shell, name: str):
    said = await shell.run("stop", "--no-wait", "--", name)
    assert said.code == 4, said
    assert_inert(said.err)


async def test_the_versions_of_command_and_platform_are_shown(shell: Shell):
    said = await shell.run("version", "--json")
    assert said.json["machete"] == said.json["platform"]
    assert said.json["url"] == shell.environment["MACHETE_URL"]
