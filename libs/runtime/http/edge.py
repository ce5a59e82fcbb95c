"""The outermost layer: every request gets a trace, an id, headers, a line in the log and its numbers.

An unexpected error ends here: the caller gets an id, the log gets the same id and what happened.
"""

import asyncio
import re
from collections.abc import Mapping
from time import perf_counter

from prometheus_client import Counter, Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected

from libs.contracts.principals import Principal
from libs.runtime import metrics, tracing
from libs.runtime.http.authentication import METRICS, OPEN
from libs.runtime.http.lifecycle import Lifecycle
from libs.runtime.http.problems import Problem
from libs.runtime.logging import FastLine, get_logger

FRONT = "front"
UNMATCHED = "unmatched"
CLIENT_GONE = 499

# Asked for every few seconds by machines: seen in the metrics, heard in the log only when it fails.
_QUIET = OPEN | {METRICS}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HEADERS = (
    (b"server", b"machete"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)

log = get_logger(__name__)
access = FastLine("access")


class Edge:
    """`owners` maps the identity of a route to the service it belongs to."""

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle, owners: Mapping[int, str]) -> None:
        self.app = app
        self.lifecycle = lifecycle
        self.owners = owners
        self._numbers: dict[tuple[tuple[str, str, str], int], tuple[Counter, Histogram]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        shown: dict[bytes, bytes] = dict(scope["headers"])
        header = shown.get(b"traceparent")
        trace = tracing.continued(header.decode("latin-1") if header else None)
        asked = shown.get(b"x-request-id", b"")
        request = asked if _REQUEST_ID.fullmatch(asked) else trace.trace_id.encode()
        state = scope.setdefault("state", {})
        state["stopping"] = self.lifecycle.stopping
        state["request"] = request.decode()
        with tracing.within(trace):
            await _Exchange(self, scope, send, request).carry_out(receive)

    def count(self, service: str, route: str, method: str, status: int, seconds: float) -> None:
        """One more answer; its two metrics are looked up once, since finding them costs more than counting."""
        labels = (service, route, method if method in _METHODS else "other")
        found = self._numbers.get((labels, status))
        if found is None:
            found = metrics.http_requests.labels(*labels, str(status)), metrics.http_seconds.labels(*labels)
            self._numbers[labels, status] = found
        found[0].inc()
        found[1].observe(seconds)


class _Exchange:
    """One request and its answer, or one WebSocket."""

    def __init__(self, edge: Edge, scope: Scope, send: Send, request: bytes) -> None:
        self.edge = edge
        self.scope = scope
        self.forward = send
        self.request = request
        self.began = perf_counter()
        self.status = 0

    async def carry_out(self, receive: Receive) -> None:
        try:
            await self.edge.app(self.scope, receive, self.send)
        except asyncio.CancelledError:
            if not self.edge.lifecycle.stopping.is_set():
                raise
            # The server's time to stop has run out: its task ends here anyway, so the caller may hear why.
            await self._answer(_stopping(), receive)
        except (ClientDisconnect, ClientDisconnected, WebSocketDisconnect):
            self.status = self.status or CLIENT_GONE
        except Exception:
            log.exception("unexpected error", request=self.request.decode(), path=self.scope["path"])
            await self._answer(_unexpected(self.request.decode()), receive)
        finally:
            self._record()

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start"):
            self.status = message["status"]
            present = {name for name, _ in message["headers"]}
            defaults = [pair for pair in _HEADERS if pair[0] not in present]
            message["headers"] = [*message["headers"], *defaults, (b"x-request-id", self.request)]
        elif kind == "websocket.accept":
            self.status = 101
            metrics.websockets_open.labels(*self._place()).inc()
        elif kind == "websocket.close" and not self.status:
            self.status = 403
        await self.forward(message)

    async def _answer(self, problem: Problem, receive: Receive) -> None:
        """Where an answer has begun nothing can be said any more: the connection is cut, which tells enough."""
        if not self.status:
            await problem.response()(self.scope, receive, self.send)
        elif self.scope["type"] == "websocket":
            code = 1012 if problem.status_code == 503 else 1011
            await self.send({"type": "websocket.close", "code": code, "reason": problem.code})

    def _place(self) -> tuple[str, str]:
        route = self.scope.get("route")
        return self.edge.owners.get(id(route), FRONT), getattr(route, "path", UNMATCHED)

    def _record(self) -> None:
        seconds = perf_counter() - self.began
        service, route = self._place()
        if self.scope["type"] == "http":
            method = self.scope["method"]
            self.edge.count(service, route, method, self.status, seconds)
        else:
            method = "WEBSOCKET"
            if self.status == 101:
                metrics.websockets_open.labels(service, route).dec()
        if self.status >= 400 or self.scope["path"] not in _QUIET:
            self._say(service, method, seconds)

    def _say(self, service: str, method: str, seconds: float) -> None:
        principal: Principal | None = self.scope["state"].get("principal")
        client = self.scope.get("client")
        access.write(
            {
                "event": "websocket" if method == "WEBSOCKET" else "request",
                "request": self.request.decode(),
                "service": service,
                "method": method,
                "path": self.scope["path"],
                "status": self.status,
                "ms": round(seconds * 1000, 1),
                "principal": principal.label if principal else None,
                "client": client[0] if client else None,
            }
        )


def _unexpected(request: str) -> Problem:
    return Problem(
        500,
        "internal_error",
        "Something went wrong here",
        f"this is a fault of the platform, not of the request; its log has the cause under request {request}",
        request=request,
    )


def _stopping() -> Problem:
    return Problem(
        503,
        "stopping",
        "The platform is stopping",
        "this request was cut off because the platform is stopping; what was accepted goes on later",
        headers={"Retry-After": "5"},
    )
