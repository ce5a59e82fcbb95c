"""`machete dlq` shows what was given up, retries it as an operation like any other, and drops it."""

from __future__ import annotations

import re

import pytest
from httpx import AsyncClient as Api

from libs.contracts.streams import DEAD_LETTERS
from libs.runtime.bus.kept_letters import KeptLetters
from tests.bus.sketch import command
from tests.cli.hands import Shell, Worker
from tests.cli.test_changes import installed, newest
from tests.gateway.test_dead_letters import kept
from tests.support.stage import Stage


@pytest.fixture(autouse=True)
async def _no_letters_before(stage: Stage) -> None:
    letters = KeptLetters(stage.witness)
    for each in await letters.page(0, 100):
        await letters.remove(each)


async def test_without_letters_it_says_so(shell: Shell):
    said = await shell.run("dlq", "list")
    assert (said.code, said.out) == (0, "")
    assert "no dead letters" in said.err
    assert (await shell.run("dlq", "list", "--json")).json == {"letters": [], "next": None}


async def test_letters_are_listed_and_shown_and_what_strangers_wrote_is_inert(shell: Shell, stage: Stage):
    first, second = [await kept(stage.witness, text) for text in (b"\x1b[2J one", b"two")]
    said = await shell.run("dlq", "list")
    assert (said.code, said.err) == (0, "")
    assert [line.split()[0] for line in said.out.splitlines()] == ["LETTER", first, second]
    shown = await shell.run("dlq", "show", first)
    assert shown.code == 0
    assert "given up after 4 attempts" in shown.out
    assert "cannot be read" in shown.out
    assert "one" in shown.out
    assert "\x1b" not in shown.out
    assert (await shell.run("dlq", "show", first, "--json")).json["payload"] == "\x1b[2J one"


async def test_a_long_list_is_read_page_by_page(shell: Shell, stage: Stage):
    ids = [await kept(stage.witness, b"?") for _ in range(3)]
    said = await shell.run("dlq", "list", "--limit", "2")
    assert ids[2] not in said.out
    more = re.search(r"`machete (dlq list --after \S+)`", said.err)
    assert more is not None
    rest = await shell.run(*more[1].split(), "--json")
    assert [each["id"] for each in rest.json["letters"]] == ids[2:]


async def test_a_letter_is_dropped_once(shell: Shell, stage: Stage):
    letter = await kept(stage.witness, b"?")
    unasked = await shell.run("dlq", "drop", letter)
    assert (unasked.code, unasked.err) == (2, "machete: nobody can be asked here: say --yes to drop it\n")
    said = await shell.run("dlq", "drop", letter, "--yes", "--json")
    assert (said.code, said.json) == (0, {"dropped": letter})
    again = await shell.run("dlq", "drop", letter)
    assert again.code == 4
    assert "`machete dlq list`" in again.err
    assert [each async for each in stage.witness.each(DEAD_LETTERS, ">")] == []


async def test_a_retry_is_waited_for_and_ends_like_any_other_operation(
    shell: Shell, stage: Stage, api: Api, worker: Worker
):
    install = await installed(api, worker, "given-up")
    letter = await kept(stage.witness, command("start", install["tool"], "given-up"))
    running = await shell.begin("dlq", "retry", letter)
    operation = await newest(api, "given-up", after=install["id"])
    await (await worker.begin(operation)).succeed()
    ended = await running.end()
    assert (ended.code, ended.err) == (0, ""), ended
    assert operation["id"] in ended.out
    assert (operation["kind"], operation["requested_by"]) == ("start", "user:admin")
    assert (await shell.run("dlq", "list", "--json")).json["letters"] == []


async def test_what_cannot_be_retried_is_refused_with_the_way_out(shell: Shell, stage: Stage):
    letter = await kept(stage.witness, b"?")
    said = await shell.run("dlq", "retry", letter, "--json")
    assert (said.code, said.json["error"]["code"]) == (4, "dead_letter_not_retryable")
    assert "ask for what it was meant for anew" in said.err
    missing = await shell.run("dlq", "retry", "dl-999")
    assert missing.code == 4
