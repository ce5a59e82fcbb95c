"""What cannot be followed is refused before the connection stands, and says why."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.status.service import Running, status_service
from tests.support.stage import staged


@pytest.fixture(scope="module")
async def status(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Running]:
    async with staged() as stage, status_service(stage, tmp_path_factory.mktemp("data")) as running:
        yield running


async def refusal(status: Running, *topics: str, cursor: str | None = None, **manner: Any) -> tuple[int, str, str]:
    with pytest.raises(InvalidStatus) as refused:
        async with status.live(*topics, cursor=cursor, **manner):
            pass
    document = json.loads(refused.value.response.body)
    return refused.value.response.status_code, document["code"], document["detail"]


@pytest.mark.parametrize(
    "topics", [(), ("everything",), ("tools:x",), ("logs",), ("operation:",), ("tools", "logs:"), ("tools",) * 33]
)
async def test_what_cannot_be_followed_is_refused_before_the_connection_stands(
    status: Running, topics: tuple[str, ...]
) -> None:
    code, word, text = await refusal(status, *topics)
    assert (code, word) == (400, "topic_invalid")
    assert "topic" in text


@pytest.mark.parametrize(
    "topic", ["logs:nobody", "logs:../../etc/passwd", f"operation:op-{'a' * 26}", "operation:$(id)"]
)
async def test_what_is_not_there_is_refused_by_name(status: Running, topic: str) -> None:
    code, word, text = await refusal(status, topic)
    assert (code, word) == (404, "tool_not_found" if topic.startswith("logs") else "operation_not_found")
    assert topic.partition(":")[2] in text


@pytest.mark.parametrize("cursor", ["nonsense", "e30", "WyJhIiwxXQ", "WyJhIiwtMSwxLHt9XQ", "x" * 6_001])
async def test_a_cursor_nobody_gave_out_is_refused(status: Running, cursor: str) -> None:
    assert (await refusal(status, "tools", cursor=cursor))[:2] == (400, "cursor_invalid")


@pytest.mark.parametrize(
    ("manner", "allowed"),
    [
        ({"pace": -1}, "0"),
        ({"pace": 60_001}, "60000"),
        ({"pace": "abc"}, "a whole number"),
        ({"heartbeat": 0}, "1"),
        ({"heartbeat": "0.5"}, "a whole number"),
        ({"heartbeat": 1_000_000}, "300"),
    ],
)
async def test_a_manner_that_cannot_be_is_refused_with_what_can(
    status: Running, manner: dict[str, Any], allowed: str
) -> None:
    code, word, text = await refusal(status, "tools", **manner)
    assert (code, word) == (422, "invalid_request")
    assert next(iter(manner)) in text
    assert allowed in text
