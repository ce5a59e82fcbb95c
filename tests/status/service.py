"""The status service in earnest: a real NATS server, its own tables, HTTP on a port."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
from pydantic import SecretStr
from websockets.asyncio.client import ClientConnection, connect

from libs.contracts.envelope import Message
from libs.contracts.logs import LogChunk, LogLine
from libs.contracts.queries import Question
from libs.contracts.streams import EVENTS, LOGS
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unanswerable
from services.status.app import build
from services.status.domain.cursors import parse_cursor
from services.status.settings import Settings
from tests.status.stories import Operation
from tests.support.served import TOKEN, Served, served
from tests.support.served import service as beside
from tests.support.stage import WITHIN, Stage

Frame = dict[str, Any]


@dataclass
class Running:
    """`gateway` asks, `stage.witness` says what happens."""

    stage: Stage
    gateway: Bus
    http: Served

    async def say(self, *messages: Message) -> int:
        """The sequence of the last one; lines and events alike."""
        sequence = 0
        for message in messages:
            stream = LOGS if isinstance(message, LogChunk) else EVENTS
            sequence = (await self.stage.witness.publish(stream, message)).sequence
        return sequence

    async def told_next(self, live: Follower, *messages: Message) -> list[Frame]:
        """Each is said and is the next that this one is told: nothing else was still to come from its stream."""
        frames: list[Frame] = []
        for message in messages:
            sequence = await self.say(message)
            frames.append(await live.next())
            place, told = parse_cursor(frames[-1]["cursor"]), "log" if isinstance(message, LogChunk) else "event"
            assert (told in frames[-1], place.lines if told == "log" else place.events) == (True, sequence), frames[-1]
        return frames

    async def ask(self, question: Question) -> Any:
        return await self.gateway.ask(question, question.answered_with, patience=10.0)

    async def refused(self, question: Question) -> tuple[int, str, str]:
        """Status, code and text of a problem."""
        try:
            found = await self.ask(question)
        except Unanswerable as answer:
            return answer.status, answer.problem.code, answer.problem.message
        raise AssertionError(f"it was answered: {found}")

    async def stop(self) -> None:
        """Ended in order, as when the process is told to."""
        self.http.task.cancel()
        async with asyncio.timeout(WITHIN):
            await asyncio.wait([self.http.task])

    @asynccontextmanager
    async def live(self, *topics: str, cursor: str | None = None, **manner: int) -> AsyncGenerator[Follower]:
        asked = [*(("topic", topic) for topic in topics), *([("cursor", cursor)] if cursor else [])]
        query = urlencode([*asked, *((name, str(value)) for name, value in manner.items())])
        address = f"ws://127.0.0.1:{self.http.port}/api/v1/live?{query}"
        async with connect(address, additional_headers={"authorization": f"Bearer {TOKEN}"}) as socket:
            yield Follower(socket)

    @asynccontextmanager
    async def followed(self, path: str, **query: Any) -> AsyncGenerator[Lines]:
        async with self.http.client.stream("GET", path, params={"follow": "true", **query}, timeout=WITHIN) as response:
            assert response.status_code == 200, await response.aread()
            yield Lines(response)


class Follower:
    """One live connection from its client's side."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def next(self) -> Frame:
        async with asyncio.timeout(WITHIN):
            return json.loads(await self.socket.recv())

    async def frames(self, count: int) -> list[Frame]:
        return [await self.next() for _ in range(count)]


class Lines:
    """An NDJSON answer, line by line."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(WITHIN):
            return json.loads(await anext(self._lines))

    async def rest(self) -> list[dict[str, Any]]:
        async with asyncio.timeout(WITHIN):
            return [json.loads(line) async for line in self._lines]


def chunk(tool: str, source: str, first: int, count: int = 1) -> LogChunk:
    now = datetime.now(UTC)
    lines = tuple(LogLine(time=now, text=f"{source} {number}") for number in range(first, first + count))
    return LogChunk(tool=tool, source=source, first=first, lines=lines)


def printed(operation: Operation, first: int, count: int = 1) -> LogChunk:
    return chunk(operation.tool, operation.id, first, count)


def texts(lines: Sequence[Any]) -> list[str]:
    return [line["text"] for line in lines]


@asynccontextmanager
async def status_service(stage: Stage, data: Path, **given: Any) -> AsyncGenerator[Running]:
    settings = Settings.model_validate(
        {
            "data": data,
            "nats_url": stage.server.url,
            "nats_user": "status",
            "nats_password": SecretStr(stage.server.password("status")),
            **given,
        }
    )
    async with stage.connected("gateway") as gateway, served(beside(), build(settings), data=data) as http:
        yield Running(stage, gateway, http)
