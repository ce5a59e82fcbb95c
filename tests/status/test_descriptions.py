"""A tool whole and its last lines, as the status service answers them: never more than a message takes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from libs.contracts.logs import LogChunk, LogLine
from libs.contracts.queries import DescribeTools, ReadLastLines
from libs.contracts.tools import Tool
from libs.contracts.views import Descriptions, LastLines
from tests.status.service import Running, status_service
from tests.status.stories import Operation, tool
from tests.support.stage import Stage, staged

MESSAGE = 1024 * 1024


@pytest.fixture(scope="module")
async def stage() -> AsyncGenerator[Stage]:
    async with staged() as stage:
        yield stage


@pytest.fixture
async def status(stage: Stage, tmp_path: Path) -> AsyncGenerator[Running]:
    async with status_service(stage, tmp_path) as running:
        yield running


def with_manifest(found: Tool, **manifest: Any) -> Tool:
    release = found.release
    changed = release.model_copy(update={"manifest": release.manifest.model_copy(update=manifest)})
    return found.model_copy(update={"release": changed})


async def install(status: Running, name: str, **manifest: Any) -> tuple[str, int]:
    """The id of a new tool, and the position of its last event."""
    operation, described = Operation(name=name), with_manifest(tool(name), **manifest)
    await status.say(operation.accepted())
    fence = await status.say(operation.started())
    return described.id, await status.say(operation.succeeded(fence, described))


async def every(status: Running, position: int) -> list[Descriptions]:
    """All pages."""
    pages: list[Descriptions] = []
    after: str | None = None
    while not pages or after is not None:
        pages.append(await status.ask(DescribeTools(after=after, position=position)))
        after = pages[-1].next
    return pages


async def test_tools_with_large_manifests_come_in_as_many_answers_as_it_takes(status: Running):
    names = [f"large{number}" for number in range(8)]
    position = 0
    for name in names:
        _, position = await install(status, name, config={"much": "x" * 200_000})
    pages = await every(status, position)
    assert [each.tool.name for page in pages for each in page.tools if each.tool.name in names] == names
    assert len(pages) > 1
    assert all(len(page.model_dump_json()) < MESSAGE / 2 for page in pages)
    assert all(page.tools for page in pages)


async def test_many_tools_come_page_by_page_each_of_them_once(status: Running):
    names = sorted(f"many{number:03}" for number in range(120))
    position = 0
    for name in names:
        _, position = await install(status, name)
    pages = await every(status, position)
    assert [each.tool.name for page in pages for each in page.tools if each.tool.name in names] == names


async def test_a_tool_that_is_being_installed_is_described_without_a_manifest(status: Running):
    operation = Operation(name="coming")
    position = await status.say(operation.accepted())
    (found,) = (await status.ask(DescribeTools(tool="coming", position=position))).tools
    assert (found.tool.state, found.manifest, found.category, found.port) == ("pending", None, None, None)


async def test_secrets_in_a_manifest_are_masked_wherever_they_stand(status: Running):
    config = {
        "api_key": "hunter2", "pins": {"admin_password": 4711, "tokens": ["hunter2", "hunter2"]}, "debug": False,
        "list": [{"secret": "hunter2"}], "at": "https://me:hunter2@db.example.org/x", "token": "", "retries": 3,
    }  # fmt: skip
    id, position = await install(status, "careless", config=config, environment={"DB_PASSWORD": "hunter2", "A": "b"})
    (found,) = (await status.ask(DescribeTools(tool=id, position=position))).tools
    assert found.manifest is not None
    assert "hunter2" not in found.model_dump_json()
    assert found.manifest["environment"] == {"DB_PASSWORD": "***", "A": "b"}
    assert found.manifest["config"] == {
        "api_key": "***", "pins": {"admin_password": "***", "tokens": ["***", "***"]}, "debug": False,
        "list": [{"secret": "***"}], "at": "https://***@db.example.org/x", "token": "", "retries": 3,
    }  # fmt: skip


async def test_last_lines_are_those_of_the_services_and_as_many_as_fit(status: Running):
    id, position = await install(status, "talker")
    now = datetime.now(UTC)
    text = "x" * 9_000

    def chunk(source: str, first: int, *texts: str) -> LogChunk:
        return LogChunk(
            tool=id, source=source, first=first, lines=tuple(LogLine(time=now, text=each) for each in texts)
        )

    await status.say(chunk(Operation(name="talker").id, 0, "of an operation"))
    for number in range(100):
        await status.say(chunk("web", number, f"{number} {text}"))
    await status.say(chunk("db", 0, "first", "second"))

    async def last(count: int) -> LastLines:
        return await status.ask(ReadLastLines(tool="talker", lines=count, position=position))

    assert [(line.service, line.text) for line in (await last(2)).lines] == [("db", "first"), ("db", "second")]
    assert [line.text.split()[0] for line in (await last(3)).lines] == ["99", "first", "second"]
    assert (await last(0)).lines == ()
    all_that_fit = (await last(1000)).lines
    assert 10 < len(all_that_fit) < 102
    expected = [*map(str, range(100)), "first", "second"][-len(all_that_fit) :]
    assert [line.text.split()[0] for line in all_that_fit] == expected
    assert len((await last(1000)).model_dump_json()) < MESSAGE / 2


async def test_what_is_not_there_is_refused(status: Running):
    for question in (DescribeTools(tool="nothing"), ReadLastLines(tool="nothing")):
        code, word, _ = await status.refused(question)
        assert (code, word) == (404, "tool_not_found")
    assert (await status.refused(DescribeTools(after="made up")))[1] == "cursor_invalid"
