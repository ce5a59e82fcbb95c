"""A status service without a gateway beside it asks one who somebody is, and does not ask for every request."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from libs.contracts.principals import Principal
from libs.contracts.problems import Problem
from libs.contracts.queries import Answer, AuthenticateToken
from libs.runtime.bus.connection import Bus
from services.status.app import build
from services.status.settings import Settings
from services.status.tokens import Tellers
from tests.support.served import Served, served
from tests.support.stage import Stage, staged

GOOD = "a-good-token"
LOGS = "/api/v1/tools/nobody/logs"


@pytest.fixture(scope="module")
async def stage() -> AsyncGenerator[Stage]:
    async with staged() as stage:
        yield stage


class Gateway:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def respond(self, question: AuthenticateToken) -> Answer[Any]:
        self.asked.append(question.token)
        if question.token == GOOD:
            return Answer[Any](result=Principal(kind="user", name="admin", role="admin"))
        return Answer[Any](status=401, problem=Problem(code="token_invalid", message="This token is not valid."))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def alone(stage: Stage, tmp_path: Path) -> AsyncGenerator[Served]:
    settings = Settings.model_validate(
        {
            "data": tmp_path,
            "nats_url": stage.server.url,
            "nats_user": "status",
            "nats_password": SecretStr(stage.server.password("status")),
        }
    )
    async with served(build(settings), data=tmp_path) as http:
        yield http


async def asking(http: Served, token: str) -> httpx.Response:
    return await http.stranger.get(LOGS, headers={"authorization": f"Bearer {token}"})


async def test_the_gateway_is_asked_once_for_many_requests(stage: Stage, alone: Served) -> None:
    gateway = Gateway()
    async with stage.connected("gateway") as bus:
        await bus.answer(AuthenticateToken, gateway.respond, queue="gateway")
        await bus.flush()
        assert [(await asking(alone, GOOD)).status_code for _ in range(5)] == [404] * 5
        assert [(await asking(alone, "a-bad-token")).status_code for _ in range(5)] == [401] * 5
        assert gateway.asked == [GOOD, "a-bad-token"]
        assert (await asking(alone, "x" * 600)).status_code == 401
        assert len(gateway.asked) == 2


async def test_without_a_gateway_nobody_is_let_in_and_told_why(alone: Served) -> None:
    answer = await asking(alone, GOOD)
    assert (answer.status_code, answer.json()["code"]) == (503, "gateway_away")


async def test_what_the_gateway_said_is_believed_for_five_seconds(stage: Stage) -> None:
    gateway = Gateway()
    async with stage.connected("gateway") as bus, stage.connected("status") as status:
        await bus.answer(AuthenticateToken, gateway.respond, queue="gateway")
        await bus.flush()

        def there() -> Bus:
            return status

        clock = Clock()
        tellers = Tellers(there, clock=clock)
        for passing in (0.0, 4.9, 0.1, 4.9):
            clock.now += passing
            assert await tellers.authenticate(GOOD) is not None
    assert len(gateway.asked) == 2
