"""While NATS is away, what cannot be told without it is refused before its first byte, and says why."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from libs.contracts.envelope import Frozen
from libs.runtime.bus.failures import Unavailable
from services.status.handlers import told
from tests.status.service import Running, chunk, status_service, texts
from tests.status.stories import Operation, tool
from tests.support.stage import WITHIN, eventually, staged


async def lines(status: Running, path: str) -> tuple[int, str]:
    answer = await status.http.client.get(path, timeout=WITHIN)
    return answer.status_code, answer.json()["code"]


async def live(status: Running, topic: str) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as refused:
        async with status.live(topic):
            pass
    return refused.value.response.status_code, json.loads(refused.value.response.body)["code"]


async def test_lines_and_what_happens_are_refused_while_nats_is_away_and_told_afterwards(tmp_path: Path) -> None:
    async with staged() as stage, status_service(stage, tmp_path) as status:
        install = Operation()
        await status.say(install.accepted())
        fence = await status.say(install.started())
        await status.say(install.succeeded(fence, tool()), chunk(install.tool, "main", 0))
        assert (await status.http.client.get("/api/v1/tools/sample/logs")).status_code == 200
        await stage.server.kill()
        await eventually(lambda: not stage.witness.connected, "the connection is lost")
        answers = await asyncio.gather(
            lines(status, "/api/v1/tools/sample/logs"),
            lines(status, "/api/v1/tools/sample/logs?tail=5&follow=true"),
            live(status, "tools"),
            live(status, "logs:sample"),
            live(status, f"operation:{install.id}"),
        )
        assert set(answers) == {(503, "bus_unavailable")}
        await stage.server.start()
        async with status.live("logs:sample"), status.followed("/api/v1/tools/sample/logs", tail=5) as followed:
            assert texts([await followed.next()]) == ["main 0"]


async def test_a_question_that_nothing_is_known_of_without_nats_is_answered_with_that() -> None:
    async def find(_: object) -> Frozen:
        raise Unavailable("JetStream says nothing of EVENTS")

    answer = await told(find)(None)
    assert answer.problem is not None
    assert (answer.status, answer.problem.code) == (503, "bus_unavailable")
    assert "JetStream says nothing of EVENTS" in answer.problem.message
