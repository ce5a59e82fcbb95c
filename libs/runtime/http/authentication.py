"""Who asks: a bearer token on everything but a short list, unknown paths and WebSockets included.

A browser, which cannot set headers, may show it as the WebSocket subprotocol `machete.bearer.<token>`,
and as the password of HTTP Basic on the API documentation. Basic is taken nowhere else: browsers send it
along unasked, and a foreign page could then act in somebody's name.
"""

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.contracts.principals import Principal
from libs.runtime.http.problems import Problem

Authenticate = Callable[[str], Awaitable[Principal | None]]
"""Whose token this is, or None. Compares in constant time. May raise `Problem` (503) while it cannot tell."""

OPEN = frozenset({"/api/health"})
"""The paths that need no token. Whoever adds one answers for what it tells a stranger."""

METRICS = "/metrics"
SCRAPER = Principal(kind="service", name="prometheus", role="viewer")

DOCS = "/api/docs"
OPENAPI = "/api/openapi.json"
PROTOCOL = "machete.v1"
BEARER_PROTOCOL = "machete.bearer."

_LONGEST_TOKEN = 4096


def principal(connection: HTTPConnection) -> Principal:
    """Who asks, in a route or as a FastAPI dependency."""
    return connection.scope["state"]["principal"]


async def nobody(_token: str) -> Principal | None:
    """For a process in which no service can tell who asks: everybody is refused."""
    return None


class Authentication:
    """Puts the `Principal` at `scope["state"]["principal"]`, or answers 401. `metrics_token` reads metrics alone."""

    def __init__(self, app: ASGIApp, authenticate: Authenticate, metrics_token: str = "") -> None:
        self.app = app
        self.authenticate = authenticate
        self.metrics_token = metrics_token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in OPEN):
            await self.app(scope, receive, send)
            return
        token = _token(scope)
        try:
            principal = await self._who(scope, token) if token else None
        except Problem as problem:
            await _refuse(problem, scope, receive, send)
            return
        if principal is None:
            await _refuse(_unauthenticated(scope, shown=token is not None), scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = principal
        offered: Sequence[str] = scope.get("subprotocols", ())
        if offered:
            scope["subprotocols"] = [each for each in offered if not each.startswith(BEARER_PROTOCOL)]
            send = _choosing(offered, send)
        await self.app(scope, receive, send)

    async def _who(self, scope: Scope, token: str) -> Principal | None:
        if scope["type"] == "http" and scope["path"] == METRICS and self.metrics_token:
            known = hmac.compare_digest(self.metrics_token, token.encode(errors="replace"))
            return SCRAPER if known else await self.authenticate(token)
        return await self.authenticate(token)


def _token(scope: Scope) -> str | None:
    shown = [value for name, value in scope["headers"] if name == b"authorization"]
    if scope["type"] == "websocket":  # a browser sends along by itself what somebody typed in at the docs
        shown = [value for value in shown if not value.lower().startswith(b"basic ")]
    if not shown and scope["type"] == "websocket":
        offered: Sequence[str] = scope.get("subprotocols", ())
        bearer = next((each for each in offered if each.startswith(BEARER_PROTOCOL)), "")
        return bearer.removeprefix(BEARER_PROTOCOL) or None
    if len(shown) != 1 or len(shown[0]) > _LONGEST_TOKEN:
        return None
    scheme, _, credentials = shown[0].decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip() or None
    if scheme.lower() == "basic" and _browsable(scope):
        return _password(credentials)
    return None


def _browsable(scope: Scope) -> bool:
    path: str = scope["path"]
    reads = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
    return reads and (path in (DOCS, OPENAPI) or path.startswith(f"{DOCS}/"))


def _password(credentials: str) -> str | None:
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return decoded.partition(":")[2] or None


def _unauthenticated(scope: Scope, *, shown: bool) -> Problem:
    challenge = 'Bearer realm="MACHETE"' + (', error="invalid_token"' if shown else "")
    if _browsable(scope):
        challenge = f'Basic realm="MACHETE: any user, the token as password", charset="UTF-8", {challenge}'
    return Problem(
        401,
        "unauthenticated",
        "Who are you?",
        "the token shown is not valid here: show another; the first one is in <data>/admin.token"
        if shown
        else "show a token: `Authorization: Bearer <token>`; the first one is in <data>/admin.token",
        headers={"WWW-Authenticate": challenge},
    )


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 4000 + problem.status_code, "reason": problem.title})
        return
    await problem.response()(scope, receive, send)


def _choosing(offered: Sequence[str], send: Send) -> Send:
    """A browser drops a connection whose answer names none of the subprotocols it offered.

    Where the app chose none: ours, if it was offered, so that the token is not sent back; else the token's.
    """
    bearer = next((each for each in offered if each.startswith(BEARER_PROTOCOL)), None)
    chosen = PROTOCOL if PROTOCOL in offered else bearer

    async def choose(message: Message) -> None:
        if message["type"] == "websocket.accept" and not message.get("subprotocol") and chosen:
            message["subprotocol"] = chosen
        await send(message)

    return choose
