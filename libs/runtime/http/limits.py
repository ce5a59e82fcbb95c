"""What is turned away before a route sees it: requests while starting, bodies too large or with broken text."""

import json

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


class Bodies:
    """Answers 413 to a body above `limit` bytes, announced or not, and 400 to JSON with half a character in it.

    `"\\ud800"` is JSON and makes a string that no UTF-8 can carry: it would fail wherever it goes next.
    """

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
        chunks: list[bytes] = []
        received = 0

        async def checked() -> Message:
            nonlocal received
            message = await receive()
            chunks.append(message.get("body", b""))
            received += len(chunks[-1])
            if received > self.limit:
                raise self._too_large()
            if not message.get("more_body", False):
                refuse_broken_text(b"".join(chunks))
                chunks.clear()
            return message

        await self.app(scope, checked, send)

    def _too_large(self) -> Problem:
        return Problem(
            413,
            "body_too_large",
            "The body is too large",
            f"a body may have {self.limit} bytes; send less, or in parts",
            limit=self.limit,
        )


def refuse_broken_text(body: bytes) -> None:
    """Raises `Problem` (400)."""
    if b"\\u" not in body:
        return
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise Problem(
            400,
            "malformed_text",
            "The body is not text",
            f"the body has {half}, half of a surrogate pair; write the character itself or both halves",
        ) from None
    except (ValueError, RecursionError):
        # No JSON at all: whoever reads it says so, with the place.
        return


def _announced(scope: Scope) -> int:
    """What Content-Length says; the server has refused one that is no number."""
    return next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)
