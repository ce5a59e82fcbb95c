"""The HTTP edge: logs, whole or followed, and what happens, live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Query, Request, WebSocket
from pydantic import AwareDatetime
from starlette.requests import HTTPConnection
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from libs.contracts.names import TOKEN
from libs.runtime import metrics
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.reader import Replaced
from libs.runtime.cancellation import abandon
from libs.runtime.http.authentication import principal
from libs.runtime.http.lifecycle import stopping
from libs.runtime.http.problems import Problem
from libs.runtime.logging import get_logger
from services.status.domain.cursors import parse_cursor
from services.status.domain.entries import OperationEntry
from services.status.domain.open_streams import OpenStreams, TooManyOpen
from services.status.domain.pages import BadCursor
from services.status.domain.topics import BadTopic, Followed, Topics, parse_topics
from services.status.lines import operation_log, tool_log
from services.status.live import LiveSession, Manner, Shared, start
from services.status.lookup import Lookup, Refused
from services.status.ports import TablesAway, ToolRow

log = get_logger(__name__)

MOST_LINES = 10_000
# Milliseconds and seconds that a live connection may ask for.
SLOWEST = 60_000
RAREST = 300
SERVICE_RESTART = 1012
BROKE = 1011

Found = TypeVar("Found")


@dataclass(frozen=True)
class Views:
    """What the routes stand on, while the service runs. Whoever prints a log does so in his turn."""

    bus: Bus
    lookup: Lookup
    live: Shared
    open: OpenStreams
    turns: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def tool(self, name_or_id: str) -> ToolRow:
        return await self._found(lambda: self.lookup.tool(name_or_id))

    async def operation(self, id: str) -> OperationEntry:
        return await self._found(lambda: self.lookup.operation(id))

    async def _found(self, find: Callable[[], Awaitable[Found]]) -> Found:
        with refusing():
            await self.lookup.up_to(None)
            return await find()

    async def followed(self, topics: Topics) -> tuple[Followed, int]:
        """The topics resolved, and where the oldest of their operations begins."""
        operations = [await self.operation(id) for id in topics.operations]
        followed = Followed(
            tools=topics.tools,
            tool=await self._ids(topics.tool),
            operations={operation.id: operation.tool for operation in operations},
            logs=await self._ids(topics.logs),
            states=topics.states,
            state=await self._ids(topics.state),
        )
        return followed, min((operation.accepted for operation in operations), default=1)

    async def _ids(self, names: Sequence[str]) -> frozenset[str]:
        return frozenset([(await self.tool(name)).entry.id for name in names])

    @contextmanager
    def held(self, connection: HTTPConnection) -> Generator[None]:
        """A stream of who asks, while it is open. Raises `Problem`."""
        try:
            with self.open.held(principal(connection).label):
                yield
        except TooManyOpen as full:
            metrics.streams_turned_away.inc()
            detail, headers = f"{full}: close some of them, then try again", {"Retry-After": "5"}
            raise Problem(429, "too_many_streams", "Too many open streams", detail, headers=headers) from None


@contextmanager
def refusing() -> Generator[None]:
    """What is not there, or cannot be told now, as HTTP says it."""
    try:
        yield
    except Refused as refused:
        raise Problem.of(refused.problem, refused.status) from None
    except TablesAway as away:
        raise Problem(503, "database_away", "Not possible now", f"ask again soon: {away}") from None
    except Unavailable as away:
        detail, headers = f"ask again in a moment: {away}", {"Retry-After": "2"}
        raise Problem(503, "bus_unavailable", "NATS does not answer", detail, headers=headers) from None


class NdJson(StreamingResponse):
    """Ends by itself when the platform stops; a reader that goes away ends what feeds it, at once."""

    media_type = "application/x-ndjson"

    def __init__(self, lines: AsyncGenerator[bytes], request: Request, views: Views) -> None:
        super().__init__(lines)
        self._lines = lines
        self._request = request
        self._views = views
        self._stopping = stopping(request)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._views.held(self._request):
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._lines):
            streaming = asyncio.create_task(super().stream_response(send))
            stopped = asyncio.create_task(self._stopping.wait())
            try:
                await asyncio.wait({streaming, stopped}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await abandon(streaming, stopped)
        if not streaming.cancelled():
            streaming.result()
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def routes(views: Callable[[], Views]) -> APIRouter:
    """`views` gives what there is while the service runs, or raises `Problem`."""
    router = APIRouter(prefix="/api/v1", tags=["live"])

    @router.get("/operations/{id}/log", response_class=NdJson, status_code=200)
    async def read_operation_log(
        request: Request, id: Annotated[str, Path(max_length=64)], follow: bool = False
    ) -> NdJson:
        """All that an operation printed, as NDJSON `{number, time, text}`; with `follow`, until it has ended."""
        there = views()
        operation = await there.operation(id)
        return NdJson(operation_log(there.bus, there.lookup, operation, there.turns, follow=follow), request, there)

    @router.get("/tools/{name}/logs", response_class=NdJson, status_code=200)
    async def read_tool_logs(
        request: Request,
        name: Annotated[str, Path(max_length=64)],
        follow: bool = False,
        tail: Annotated[int | None, Query(ge=0, le=MOST_LINES)] = None,
        service: Annotated[str | None, Query(pattern=f"^{TOKEN}$", description="Only this one of a stack.")] = None,
        since: Annotated[AwareDatetime | None, Query(description="Only what was printed then or later.")] = None,
    ) -> NdJson:
        """What a tool's services print, as NDJSON `{number, time, service, text}`: what is kept, or the last of it.

        With `follow`, what comes as well, until the tool is uninstalled. `number` is the line's in all that its service
        ever printed, from 0: what is left out was told as `missed`.
        """
        there = views()
        tool = await there.tool(name)
        _check_service(tool, service)
        with refusing():
            gone = partial(there.lookup.gone, tool.entry.id)
            lines = await tool_log(
                there.bus, tool.entry.id, there.turns, service=service, follow=follow, tail=tail, since=since, gone=gone
            )
        return NdJson(lines, request, there)

    @router.websocket("/live")
    async def live(
        websocket: WebSocket,
        topic: Annotated[Sequence[str], Query()] = (),
        cursor: str | None = None,
        pace: Annotated[int, Query(ge=0, le=SLOWEST)] = 0,
        heartbeat: Annotated[int | None, Query(ge=1, le=RAREST)] = None,
    ) -> None:
        there = views()
        try:
            topics = parse_topics(topic)
            place = parse_cursor(cursor) if cursor is not None else None
        except BadTopic as bad:
            raise Problem(400, "topic_invalid", "This cannot be followed", str(bad)) from None
        except BadCursor as bad:
            raise Problem(400, "cursor_invalid", "This cursor cannot be used", str(bad)) from None
        with there.held(websocket):
            followed, begun = await there.followed(topics)
            with refusing():
                begin = await start(there.bus, followed, begun, place)
            session = LiveSession(there.live, followed, begin, Manner(pace / 1000, heartbeat))
            await websocket.accept()
            await _talk(websocket, session)

    return router


def _check_service(tool: ToolRow, service: str | None) -> None:
    known = [each.name for each in tool.entry.services]
    if service is not None and service not in known:
        said = f"{tool.entry.name} has no service {service}; it has {', '.join(known) or 'none yet'}."
        raise Problem(404, "service_unknown", "There is no such service", said)


async def _talk(websocket: WebSocket, session: LiveSession) -> None:
    """Until the client leaves, the platform stops, or the streams are not the same any more."""
    speaking = asyncio.create_task(session.run(websocket.send_text))
    leaving = asyncio.create_task(_until_gone(websocket))
    stopped = asyncio.create_task(stopping(websocket).wait())
    tasks = (speaking, leaving, stopped)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await abandon(*tasks)
    if leaving.cancelled():
        await _say_goodbye(websocket, None if speaking.cancelled() else speaking.exception())


async def _say_goodbye(websocket: WebSocket, problem: BaseException | None) -> None:
    match problem:
        case None:
            await websocket.close(SERVICE_RESTART, "the platform is stopping; connect again with the last cursor")
        case Replaced():
            await websocket.close(SERVICE_RESTART, "the streams were made anew; connect again with the last cursor")
        case WebSocketDisconnect():
            return
        case Unavailable():
            log.warning("a live connection ends, since NATS is away", problem=str(problem))
            await websocket.close(BROKE, "NATS does not answer; connect again with the last cursor")
        case _:
            log.error("a live connection broke", exc_info=problem)
            await websocket.close(BROKE, "something went wrong here; connect again with the last cursor")


async def _until_gone(websocket: WebSocket) -> None:
    """What a client says is passed over: there is nothing to be said."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        continue
