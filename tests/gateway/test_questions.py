"""A question goes to the status service as it was asked, and its answer comes back as HTTP has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from libs.contracts.operations import OperationState
from libs.contracts.problems import Problem
from libs.contracts.queries import Answer, ListOperations, ListTools, Question, ShowOperation, ShowTool
from libs.contracts.views import OperationView, Page, operation_links, tool_view
from tests.bus.sketch import tool
from tests.gateway.doors import Door, door, refused
from tests.support.stage import Stage, eventually

ID = f"op-{'b' * 26}"
TOOL = tool_view(tool("lathe-abcdef", "lathe"))
OPERATION = OperationView(
    id=ID,
    kind="start",
    tool="lathe-abcdef",
    tool_name="lathe",
    state=OperationState.FAILED,
    error=Problem(code="not_ready", message="It did not answer.", detail={"log": ["one", "two"]}),
    steps=(),
    requested_by="user:admin",
    created_at=datetime(2026, 1, 2, tzinfo=UTC),
    ended_at=datetime(2026, 1, 3, tzinfo=UTC),
    links=operation_links(ID, "lathe"),
)
PROBLEM = Problem(code="tool_not_found", message='there is no tool "lathe"', detail={"known": ["drill"]})


class Status:
    """Answers each question with what stands in `says` for its type, after `hold` is set."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.says: dict[type[Question], Answer[Any]] = {
            ListTools: Answer[Page](result=Page(tools=(TOOL,), next="cursor")),
            ShowTool: Answer[Any](result=TOOL),
            ListOperations: Answer[Page](result=Page(operations=(OPERATION,))),
            ShowOperation: Answer[Any](result=OPERATION),
        }

    async def respond(self, question: Question) -> Answer[Any]:
        self.asked.append(question)
        await self.hold.wait()
        return self.says[type(question)]


async def nobody_answers(stage: Stage) -> bool:
    """What is no question is answered as well, and not counted as asked."""
    try:
        await stage.witness.nats.request(ShowOperation.subject_form.filter(), b"", timeout=0.5)
    except NoRespondersError:
        return True
    except NatsTimeout:
        return False
    return False


async def answers(stage: Stage) -> bool:
    return not await nobody_answers(stage)


@pytest.fixture
async def status(shared_stage: Stage) -> AsyncGenerator[Status]:
    """In the status service's place, as its NATS user."""
    said = Status()
    async with shared_stage.connected("status") as bus:
        for kind in said.says:
            await bus.answer(kind, said.respond, queue="status")
        await eventually(lambda: answers(shared_stage), "there is somebody to ask")
        yield said
        said.hold.set()
    await eventually(lambda: nobody_answers(shared_stage), "there is nobody to ask")


@pytest.mark.parametrize(
    ("path", "question"),
    [
        ("/tools", ListTools()),
        ("/tools?limit=7&after=c&position=3", ListTools(limit=7, after="c", position=3)),
        ("/tools/lathe", ShowTool(tool="lathe")),
        ("/tools/lathe-abcdef?position=9", ShowTool(tool="lathe-abcdef", position=9)),
        (f"/tools/{'a' * 40}-abcdef", ShowTool(tool=f"{'a' * 40}-abcdef")),
        ("/operations", ListOperations()),
        (
            "/operations?tool=lathe&state=failed&limit=1&after=c&position=0",
            ListOperations(tool="lathe", state="failed", limit=1, after="c", position=None),
        ),
        (f"/operations/{ID}", ShowOperation(operation=ID)),
        (f"/operations/{ID}?wait=2.5&position=4", ShowOperation(operation=ID, wait=2.5, position=4)),
    ],
)
async def test_a_question_is_passed_on_as_it_was_asked(shared: Door, status: Status, path: str, question: Question):
    answer = await shared.client.get(f"/api/v1{path}")
    assert answer.status_code == 200, answer.text
    assert status.asked == [question]


async def test_the_answer_comes_back_whole(shared: Door, status: Status):
    async def told(path: str) -> Any:
        return (await shared.client.get(f"/api/v1{path}")).json()

    assert await told("/tools/lathe") == TOOL.model_dump(mode="json")
    assert await told(f"/operations/{ID}") == OPERATION.model_dump(mode="json")
    assert await told("/tools") == {"tools": [TOOL.model_dump(mode="json")], "operations": [], "next": "cursor"}
    assert (await told("/operations"))["operations"] == [OPERATION.model_dump(mode="json")]


async def test_a_position_is_taken_from_the_header_as_well(shared: Door, status: Status):
    for path in ("/tools", "/tools/lathe", "/operations", f"/operations/{ID}"):
        await shared.client.get(f"/api/v1{path}", headers={"Machete-Position": "12"})
        await shared.client.get(f"/api/v1{path}?position=13", headers={"Machete-Position": "12"})
    assert [question.model_dump()["position"] for question in status.asked] == [12, 13] * 4


async def test_the_links_of_a_202_can_be_asked_for_as_they_are(shared: Door, status: Status):
    body = (await shared.install(name="linked")).json()
    for link in (body["operation"]["links"]["self"], body["operation"]["links"]["tool"]):
        assert (await shared.client.get(link)).status_code == 200
    operation, named = status.asked
    assert operation == ShowOperation(operation=body["operation"]["id"], position=body["position"])
    assert named == ShowTool(tool="linked", position=body["position"])


@pytest.mark.parametrize("code", [400, 404, 409, 422, 503, 504])
async def test_a_problem_of_the_other_service_is_a_problem_here(shared: Door, status: Status, code: Any):
    status.says[ShowTool] = Answer[Any](status=code, problem=PROBLEM)
    document = refused(await shared.client.get("/api/v1/tools/lathe"), code, "tool_not_found")
    assert (document["detail"], document["context"]) == (PROBLEM.message, PROBLEM.detail)


async def test_without_a_status_service_a_question_is_503_at_once(shared: Door):
    for path in ("/tools", "/tools/lathe", "/operations", f"/operations/{ID}", f"/operations/{ID}?wait=30"):
        async with asyncio.timeout(2):
            answer = await shared.client.get(f"/api/v1{path}")
        document = refused(answer, 503, "service_unavailable")
        assert "status service does not answer" in document["detail"]
        assert int(answer.headers["retry-after"]) > 0


async def test_without_a_status_service_changes_are_accepted_all_the_same(shared: Door):
    assert (await shared.install(name="blind")).status_code == 202


async def test_a_wait_is_as_long_as_the_status_service_takes(shared: Door, status: Status):
    status.hold.clear()
    waiting = asyncio.create_task(shared.client.get(f"/api/v1/operations/{ID}?wait=60"))
    await eventually(lambda: len(status.asked) == 1, "the question has arrived")
    assert not waiting.done()
    status.hold.set()
    assert (await waiting).json()["state"] == "failed"


async def test_a_wait_does_not_hold_up_the_end_of_the_process(shared_stage: Stage, status: Status, tmp_path: Path):
    status.hold.clear()
    async with door(shared_stage, tmp_path) as stopping:
        client = httpx.AsyncClient(base_url=stopping.client.base_url, headers=stopping.client.headers, timeout=30)
        waiting = asyncio.create_task(client.get(f"/api/v1/operations/{ID}?wait=60"))
        await eventually(lambda: len(status.asked) == 1, "the question has arrived")
    answer = await waiting
    await client.aclose()
    document = refused(answer, 503, "stopping")
    assert "goes on later" in document["detail"]
