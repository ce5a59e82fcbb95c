"""What is turned away before it costs anything: requests before the services stand, bodies that are too large."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.runtime.http.authentication import OPEN
from libs.runtime.http.lifecycle import Lifecycle
from libs.runtime.http.problems import Problem

MAX_BODY = 1024 * 1024


class Gate:
    """Nothing but health is answered until every service has started."""

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle) -> None:
        self.app = app
        self.lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.lifecycle.serving or scope["type"] == "lifespan" or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1013, "reason": "starting"})
            return
        problem = Problem(
            503,
            "starting",
            "Not ready yet",
            "the services are starting; /api/health says what is missing",
            headers={"Retry-After": "1"},
        )
        await problem.response()(scope, receive, send)


class BodyLimit:
    """Answers 413 to a body above `limit` bytes, announced or not."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        if _announced(scope) > self.limit:
            await self._too_large().response()(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.limit:
                raise self._too_large()
            return message

        await self.app(scope, counted, send)

    def _too_large(self) -> Problem:
        return Problem(
            413,
            "body_too_large",
            "The body is too large",
            f"a body may have {self.limit} bytes; send less, or in parts",
            limit=self.limit,
        )


def _announced(scope: Scope) -> int:
    """What Content-Length says; the server has refused one that is no number."""
    return next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)
