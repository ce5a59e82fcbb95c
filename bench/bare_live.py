"""What somebody would write without MACHETE: a WebSocket that passes on what a NATS subject brings.

`python -m bench.bare_live PORT NATS_URL USER PASSWORD`: uvicorn, uvloop, no token, no cursor, no past, nothing checked.
With `?tool=ID` each event of one tool as it comes; without, all events, ten times a second together.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import nats
import uvicorn
from nats.aio.msg import Msg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

TURN = 0.1


async def health(_: Request) -> JSONResponse:
    return JSONResponse({"ready": True})


def app(url: str, user: str, password: str) -> Starlette:
    of_one: defaultdict[str, list[WebSocket]] = defaultdict(list)
    of_all: list[WebSocket] = []
    waiting: list[str] = []

    async def pass_on(message: Msg) -> None:
        event = message.data.decode()
        waiting.append(event)
        for socket in of_one.get(message.subject.split(".")[4], ()):
            await socket.send_text(f'{{"event":{event}}}')

    async def take_turns() -> None:
        while True:
            await asyncio.sleep(TURN)
            if waiting:
                frame = f'{{"events":[{",".join(waiting)}]}}'
                waiting.clear()
                for socket in list(of_all):
                    await socket.send_text(frame)

    async def live(socket: WebSocket) -> None:
        await socket.accept()
        tool = socket.query_params.get("tool")
        mine = of_one[tool] if tool else of_all
        mine.append(socket)
        while (await socket.receive())["type"] != "websocket.disconnect":
            continue
        mine.remove(socket)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        client = await nats.connect(url, user=user, password=password, inbox_prefix=f"_INBOX_{user}".encode())
        await client.subscribe("machete.evt.v1.tool.>", cb=pass_on)
        turns = asyncio.create_task(take_turns())
        yield
        turns.cancel()
        await client.close()

    return Starlette(routes=[Route("/health", health), WebSocketRoute("/live", live)], lifespan=lifespan)


if __name__ == "__main__":
    port, url, user, password = sys.argv[1:]
    uvicorn.run(
        app(url, user, password),
        port=int(port),
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        access_log=False,
        log_level="warning",
    )
