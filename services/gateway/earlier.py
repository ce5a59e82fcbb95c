"""The routes that earlier callers use, in the shapes that they know. Each does what its successor does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.contracts.names import is_tool_id, is_tool_name
from libs.contracts.queries import MAX_LINES, DescribeTools, ReadLastLines, ShowTool
from libs.contracts.streams import EVENTS
from libs.contracts.subjects import RECORD
from libs.contracts.views import Descriptions, LastLines, ToolDescription, ToolView
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.names import Names
from services.gateway import fields, problems
from services.gateway.dependencies import (
    PATIENCE,
    REUSED,
    Asker,
    Asking,
    Backend,
    accepted_answer,
    accepted_operation,
    accepts,
    caller,
    let_in,
    refusals,
)
from services.gateway.diagnostics import diagnose
from services.gateway.domain import requests
from services.gateway.domain.earlier import (
    SUCCESSOR,
    Diagnostics,
    EarlierAccepted,
    EarlierHealth,
    EarlierLogs,
    EarlierStatus,
    EarlierTool,
    earlier_accepted,
    earlier_health,
    earlier_status,
    earlier_tool,
)

# RFC 9745: since when, in seconds of the epoch: 2026-11-21, the day that /api/v1 came.
DEPRECATED = b"@1795219200"

_ACTIONS = {"running": "start", "stopped": "stop"}

_TAGS: list[Any] = ["earlier callers"]
_CHANGES: dict[str, Any] = {
    "tags": _TAGS,
    "deprecated": True,
    **accepts({404: "`tool_not_found`", **REUSED}, EarlierAccepted),
}
_READS: dict[str, Any] = {"tags": _TAGS, "deprecated": True, "dependencies": [Depends(caller)]}
_READS_TOOL: dict[str, Any] = {**_READS, "responses": refusals({404: "`tool_not_found`"})}


class Earlier(APIRoute):
    """Every answer, a refusal too, says that it is out of date and what to use instead."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        method = next(iter(self.methods or ()))
        self.description = f"{self.description}\n\nOut of date: use `{SUCCESSOR[method, path]}`."
        self.app = _pointing_on(self.app, SUCCESSOR[method, path])


def _pointing_on(app: ASGIApp, successor: str) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path = successor.replace("{id}", quote(str(scope["path_params"].get("id", "")), safe=""))
        link = f'<{path}>; rel="successor-version"'.encode()

        async def pointing(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"deprecation", DEPRECATED), (b"link", link)]
            await send(message)

        await app(scope, receive, pointing)

    return answer


class _Reading:
    """Earlier callers know no positions: what they ask is answered as of all that was accepted before."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def all(self) -> list[ToolDescription]:
        position, after = await self._position(), None
        found: list[ToolDescription] = []
        while True:
            page = await self._backend.ask(DescribeTools(after=after, position=position), Descriptions)
            found += page.tools
            after = page.next
            if after is None:
                return found

    async def whole(self, id: str) -> ToolDescription:
        tool = let_in(lambda: requests.named(id))
        question = DescribeTools(tool=tool, position=await self._position())
        return (await self._backend.ask(question, Descriptions)).tools[0]

    async def shown(self, id: str) -> ToolView:
        tool = let_in(lambda: requests.named(id))
        return await self._backend.ask(ShowTool(tool=tool, position=await self._position()), ToolView)

    async def lines(self, id: str, count: int) -> LastLines:
        tool = let_in(lambda: requests.named(id))
        return await self._backend.ask(
            ReadLastLines(tool=tool, lines=count, position=await self._position()), LastLines
        )

    async def _position(self) -> int:
        async with _nats_answering():
            last = await self._backend.bus.last(EVENTS, RECORD.filter())
        return last.sequence if last is not None else 0


def add_routes(router: APIRouter, backend: Backend) -> None:
    earlier, reading = APIRouter(route_class=Earlier), _Reading(backend)
    _add_reads(earlier, backend, reading)
    _add_changes(earlier, backend, reading)
    router.routes.extend(earlier.routes)


def _add_reads(router: APIRouter, backend: Backend, reading: _Reading) -> None:
    @router.get("/api/tools", response_model=list[EarlierTool], **_READS)
    async def earlier_list_tools() -> list[EarlierTool]:
        """All tools, by name."""
        return [earlier_tool(each) for each in await reading.all()]

    @router.get("/api/tools/{id}", response_model=EarlierTool, **_READS_TOOL)
    async def earlier_show_tool(id: fields.ToolOrId) -> EarlierTool:
        """One tool, whole."""
        return earlier_tool(await reading.whole(id))

    @router.get("/api/tools/{id}/status", response_model=EarlierStatus, **_READS_TOOL)
    async def earlier_show_status(id: fields.ToolOrId) -> EarlierStatus:
        """What the tool does now, and why."""
        return earlier_status(await reading.shown(id))

    @router.get("/api/tools/{id}/health", response_model=EarlierHealth, **_READS_TOOL)
    async def earlier_show_health(id: fields.ToolOrId) -> EarlierHealth:
        """Whether the tool is well."""
        return earlier_health(await reading.shown(id))

    @router.get("/api/tools/{id}/logs", response_model=EarlierLogs, **_READS_TOOL)
    async def earlier_read_logs(
        id: fields.ToolOrId,
        lines: Annotated[int, Query(ge=0, le=MAX_LINES, description="How many at most, the last ones.")] = 100,
    ) -> EarlierLogs:
        """The last lines that the tool printed."""
        found = await reading.lines(id, lines)
        return EarlierLogs(id=found.id, name=found.name, logs=tuple(line.text for line in found.lines))

    @router.get("/api/diagnostics", response_model=Diagnostics, **_READS)
    async def earlier_diagnose() -> Diagnostics:
        """How the platform is, and how many tools are in which state."""
        return await diagnose(backend)


def _add_changes(router: APIRouter, backend: Backend, reading: _Reading) -> None:
    @router.post(
        "/api/tools/install",
        tags=_TAGS,
        deprecated=True,
        **accepts({409: "`name_taken`: another tool has this name", **REUSED}, EarlierAccepted),
    )
    async def earlier_install_tool(
        body: fields.InstallBody, asking: Asking, query: Annotated[fields.NoQuery, Query()]
    ) -> Response:
        """Install a tool from a Git repository."""
        wanted = requests.Wanted(**body.model_dump())
        return await _accept(backend, lambda: requests.install(asking.by, asking.key, wanted, backend.protocols))

    def add_change(action: str, does: str) -> None:
        async def change(
            id: fields.ToolOrId,
            asking: Asking,
            query: Annotated[fields.NoQuery, Query()],
            body: fields.Nothing = None,
        ) -> Response:
            return await _change(backend, action, id, asking)

        router.post(f"/api/tools/{{id}}/{action}", name=f"earlier_{action}_tool", description=does, **_CHANGES)(change)

    add_change("build", "Build the images of the tool's current release again.")
    add_change("start", "Run the tool's current release and wait until it is ready.")
    add_change("stop", "Stop the tool.")
    add_change("restart", "Stop the tool and start it again.")

    @router.delete("/api/tools/{id}", **_CHANGES)
    async def earlier_uninstall_tool(
        id: fields.ToolOrId,
        asking: Asking,
        query: Annotated[fields.UninstallQuery, Query()],
        body: fields.Nothing = None,
    ) -> Response:
        """Remove the tool and all that is its own; its data only with `data`."""
        return await _change(backend, "uninstall", id, asking, **query.model_dump())

    unchanged = {200: {"description": "There is nothing to change: the tool.", "model": EarlierTool}}
    changing = {**_CHANGES, "responses": {**_CHANGES["responses"], **unchanged}}

    @router.patch("/api/tools/{id}", **changing)
    async def earlier_change_tool(
        id: fields.ToolOrId,
        asking: Asking,
        query: Annotated[fields.NoQuery, Query()],
        body: fields.PatchBody = None,
    ) -> Response:
        """Start or stop the tool: `status` is what can be changed, to `running` or `stopped`."""
        return await _patch(backend, reading, id, asking, body or {})


async def _accept(backend: Backend, request: Callable[[], requests.Request]) -> Response:
    accepted = accepted_operation(await backend.gateway.accept(let_in(request)))
    return accepted_answer(accepted, earlier_accepted(accepted))


async def _change(backend: Backend, action: str, id: str, asking: Asker, **options: bool) -> Response:
    name, tool = await _meant(backend, id)
    return await _accept(
        backend, lambda: replace(requests.change(action, name, asking.by, asking.key, **options), tool=tool)
    )


async def _meant(backend: Backend, id: str) -> tuple[str, str | None]:
    """The name of the tool, and its id where it was called by that: an id begins with the name.

    Any other tool may have a name of that form, too. The id of a tool that is gone stays an id, so that what is
    repeated under its Idempotency-Key is found.
    """
    if not is_tool_id(id):
        return id, None
    names, name = Names(backend.bus), id.rpartition("-")[0]
    async with _nats_answering():
        held = (await names.find(name)).reservation
        if held is not None and held.tool == id:
            return name, id
        if is_tool_name(id) and (await names.find(id)).reservation is not None:
            return id, None
    return name, id


async def _patch(backend: Backend, reading: _Reading, id: str, asking: Asker, body: dict[str, Any]) -> Response:
    """Who sends a whole tool back, as it was read, has asked for nothing but its status."""
    given = {field: value for field, value in body.items() if value is not None}
    action = _ACTIONS.get(str(given.get("status")))
    others = given if action is None else {field: value for field, value in given.items() if field != "status"}
    tool = earlier_tool(await reading.whole(id)).model_dump(mode="json") if others or action is None else {}
    for field, value in others.items():
        if field not in tool or tool[field] != value:
            raise problems.not_changeable(field)
    if action is None:
        return Response(json.dumps(tool), 200, media_type="application/json")
    return await _change(backend, action, id, asking)


@asynccontextmanager
async def _nats_answering() -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except (TimeoutError, Unavailable) as problem:
        raise problems.bus_unavailable() from problem
