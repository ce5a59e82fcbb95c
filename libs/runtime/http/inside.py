"""Asks routes from inside the process, as if over HTTP: for a door that is not HTTP and answers the same."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import Message, Receive, Scope, Send

from libs.contracts.principals import Principal
from libs.runtime.http.limits import Bodies
from libs.runtime.http.problems import handle_problems


@dataclass(frozen=True)
class Answered:
    """What HTTP would have said."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Asked:
    """`path` is the route's template, `parameters` what fills it, `query` as text; None for no body at all."""

    method: str
    path: str
    by: Principal
    parameters: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes | None


class Inside:
    """These routes, with the same words for every error and the same check of bodies as on the port.

    `stopping` is set when waits are to be cut off.
    """

    def __init__(self, router: APIRouter, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self.routes = {
            (method, route.path): route
            for route in router.routes
            if isinstance(route, APIRoute)
            for method in route.methods or ()
        }
        app = FastAPI(openapi_url=None)
        handle_problems(app)
        self._app = Bodies(
            ExceptionMiddleware(AsyncExitStackMiddleware(self._dispatch), handlers=app.exception_handlers)
        )
        self._state = app

    def query_of(self, method: str, path: str) -> frozenset[str]:
        """The names that this route takes in its query."""
        route = self.routes[method, path]
        names: set[str] = set()
        for field in route.dependant.query_params:
            model = cast(object, field.field_info.annotation)
            if isinstance(model, type) and issubclass(model, BaseModel):
                names |= set(model.model_fields)
            else:
                names.add(field.alias)
        return frozenset(names)

    def takes_body(self, method: str, path: str) -> tuple[bool, bool]:
        """Whether this route takes a body, and whether it must have one."""
        field = self.routes[method, path].body_field
        return field is not None, field is not None and field.field_info.is_required()

    async def ask(self, asked: Asked) -> Answered:
        """Whatever a route raises as a problem is an answer; anything else passes through."""
        heads = [(name.lower().encode("latin-1"), value.encode()) for name, value in asked.headers.items()]
        if asked.body is not None:
            heads += [(b"content-type", b"application/json"), (b"content-length", str(len(asked.body)).encode())]
        scope: Scope = {
            "type": "http",
            "method": asked.method,
            "path": asked.path,
            "headers": heads,
            "query_string": urlencode(asked.query).encode(),
            "path_params": dict(asked.parameters),
            "route": self.routes[asked.method, asked.path],
            "app": self._state,
            "state": {"principal": asked.by, "stopping": self._stopping},
        }
        said: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": asked.body or b"", "more_body": False}

        async def send(message: Message) -> None:
            said.append(message)

        await self._app(scope, receive, send)
        start = next(each for each in said if each["type"] == "http.response.start")
        body = b"".join(each.get("body", b"") for each in said if each["type"] == "http.response.body")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
        return Answered(start["status"], headers, body)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope["route"].app(scope, receive, send)
