"""What somebody would write without MACHETE: one FastAPI route that publishes to JetStream and answers 202.

`python -m bench.bare PORT NATS_URL USER PASSWORD SIZE`: uvicorn, uvloop, httptools, one worker.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import nats
import uvicorn
from fastapi import FastAPI
from nats.js.client import JetStreamContext

STREAM = "BARE"


def app(url: str, user: str, password: str, size: int) -> FastAPI:
    connected: list[JetStreamContext] = []
    message = b"x" * size

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        client = await nats.connect(url, user=user, password=password, inbox_prefix=f"_INBOX_{user}".encode())
        connected.append(client.jetstream())
        yield
        await client.close()

    bare = FastAPI(lifespan=lifespan)

    @bare.get("/health")
    async def health() -> dict[str, bool]:
        return {"ready": True}

    @bare.post("/tools/{name}/restart", status_code=202)
    async def restart(name: str) -> dict[str, int]:
        stored = await connected[0].publish(f"bare.{name}", message, stream=STREAM)
        return {"position": stored.seq}

    return bare


if __name__ == "__main__":
    port, url, user, password, size = sys.argv[1:]
    uvicorn.run(
        app(url, user, password, int(size)),
        port=int(port),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
