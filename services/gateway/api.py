"""The gateway's HTTP edge: `/api/v1`, as OpenAPI at `/api/docs` describes it."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Annotated, Any, TypeVar, get_args

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.routing import APIRoute

from libs.contracts.envelope import Frozen
from libs.contracts.names import is_operation_id
from libs.contracts.principals import Principal
from libs.contracts.queries import ListOperations, ListTools, Question, ShowOperation, ShowTool
from libs.contracts.source import Refused
from libs.contracts.views import AcceptedOperation, OperationView, Page, ToolView
from libs.runtime.bus.connection import Bus, Unanswerable, Unavailable
from libs.runtime.http.lifecycle import stopping
from libs.runtime.http.problems import MEDIA_TYPE, Problem
from services.gateway import fields, problems
from services.gateway.domain import requests
from services.gateway.domain.roles import NEEDED, may
from services.gateway.domain.views import operation_view
from services.gateway.handlers import Acceptance, Gateway

# The status service has its own patience for a position; after that it says so.
PATIENCE = 10.0

Result = TypeVar("Result", bound=Frozen)
Checked = TypeVar("Checked")


class Door:
    """What the routes stand on. `gateway` and `bus` are there while the service runs."""

    def __init__(self, protocols: Iterable[str]) -> None:
        self.protocols = frozenset(protocols)
        self.gateway: Gateway
        self.bus: Bus

    def open(self, bus: Bus, patience: float) -> None:
        self.bus, self.gateway = bus, Gateway(bus, patience)

    async def accept(self, request: Callable[[], requests.Request]) -> Response:
        return _accepted(await self.gateway.accept(_let_in(request)))

    async def ask(self, question: Question, result: type[Result], wait: float = 0) -> Result:
        try:
            return await self.bus.ask(question, result, patience=wait + PATIENCE)
        except Unanswerable as answer:
            raise Problem.of(answer.problem, answer.status) from answer
        except Unavailable as problem:
            raise problems.service_unavailable(str(problem)) from problem


@dataclass(frozen=True)
class Asker:
    """Who asks, and under which Idempotency-Key."""

    by: Principal
    key: str | None


async def caller(request: Request) -> Principal:
    """Who asks, if his role is enough for this route."""
    principal: Principal = request.scope["state"]["principal"]
    needed = NEEDED[request.method, request.scope["route"].path]
    if not may(principal.role, needed):
        raise problems.not_allowed(principal, needed)
    return principal


async def asker(request: Request, key: fields.Key = None) -> Asker:
    if key is not None and not (1 <= len(key) <= 200 and key.isascii() and key.isprintable()):
        raise problems.bad_key()
    return Asker(await caller(request), key)


Asking = Annotated[Asker, Depends(asker)]


class Change(APIRoute):
    """A change of a tool, which mostly comes with nothing but its path and headers: then nothing else is looked for.

    Half of what a route costs is looking. A request with a query or a body takes the whole way, and comes to the same.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        whole_way = super().get_route_handler()
        nothing_said = get_args(signature(self.endpoint).parameters["query"].annotation)[0]()

        async def answer(request: Request) -> Response:
            name: str = request.path_params["name"]
            if request.scope["query_string"] or _has_body(request) or len(name) > fields.LONGEST_NAME:
                return await whole_way(request)
            asking = await asker(request, request.headers.get("idempotency-key"))
            return await self.endpoint(name=name, asking=asking, query=nothing_said)

        return answer


def _has_body(request: Request) -> bool:
    headers = request.headers
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def routes(door: Door) -> APIRouter:
    router, changes = APIRouter(), APIRouter(route_class=Change)
    _add_tools(router, door)
    _add_changes(changes, door)
    router.routes.extend(changes.routes)
    _add_operations(router, door)
    served = {
        (method, route.path) for route in router.routes if isinstance(route, APIRoute) for method in route.methods or ()
    }
    if served != set(NEEDED):
        raise ValueError(f"routes and the table of roles differ: {sorted(served ^ set(NEEDED))}")
    return router


def _add_tools(router: APIRouter, door: Door) -> None:
    @router.get("/api/v1/tools", tags=["tools"], response_model=Page, dependencies=[Depends(caller)])
    async def list_tools(query: Annotated[fields.PageQuery, Query()], position: fields.Position = None) -> Page:
        """All tools, by name."""
        return await door.ask(
            ListTools(limit=query.limit, after=query.after, position=query.position or position), Page
        )

    @router.get(
        "/api/v1/tools/{name}",
        tags=["tools"],
        response_model=ToolView,
        dependencies=[Depends(caller)],
        responses=_refusals({404: "`tool_not_found`"}),
    )
    async def show_tool(
        name: fields.ToolOrId, query: Annotated[fields.PositionQuery, Query()], position: fields.Position = None
    ) -> ToolView:
        """One tool, whole."""
        tool = _let_in(lambda: requests.named(name))
        return await door.ask(ShowTool(tool=tool, position=query.position or position), ToolView)

    @router.post(
        "/api/v1/tools", tags=["tools"], **_accepts({409: "`name_taken`: another tool has this name", **_REUSED})
    )
    async def install_tool(
        body: fields.InstallBody, asking: Asking, query: Annotated[fields.NoQuery, Query()]
    ) -> Response:
        """Install a tool from a Git repository: fetch it, build it and, if asked for, start it."""
        wanted = requests.Wanted(**body.model_dump())
        return await door.accept(lambda: requests.install(asking.by, asking.key, wanted, door.protocols))


def _add_changes(router: APIRouter, door: Door) -> None:
    @router.post("/api/v1/tools/{name}/build", tags=["tools"], **_CHANGES)
    async def build_tool(
        name: fields.ToolPath,
        asking: Asking,
        query: Annotated[fields.NoQuery, Query()],
        body: fields.Nothing = None,
    ) -> Response:
        """Build the images of the tool's current release again. What runs goes on running."""
        return await door.accept(lambda: requests.change("build", name, asking.by, asking.key))

    @router.post("/api/v1/tools/{name}/start", tags=["tools"], **_CHANGES)
    async def start_tool(
        name: fields.ToolPath,
        asking: Asking,
        query: Annotated[fields.NoQuery, Query()],
        body: fields.Nothing = None,
    ) -> Response:
        """Run the tool's current release and wait until it is ready."""
        return await door.accept(lambda: requests.change("start", name, asking.by, asking.key))

    @router.post("/api/v1/tools/{name}/stop", tags=["tools"], **_CHANGES)
    async def stop_tool(
        name: fields.ToolPath,
        asking: Asking,
        query: Annotated[fields.StopQuery, Query()],
        body: fields.Nothing = None,
    ) -> Response:
        """Stop the tool. With `now`, what runs and what waits for it is cancelled first."""
        return await door.accept(lambda: requests.change("stop", name, asking.by, asking.key, now=query.now))

    @router.post("/api/v1/tools/{name}/restart", tags=["tools"], **_CHANGES)
    async def restart_tool(
        name: fields.ToolPath,
        asking: Asking,
        query: Annotated[fields.NoQuery, Query()],
        body: fields.Nothing = None,
    ) -> Response:
        """Stop the tool and start it again."""
        return await door.accept(lambda: requests.change("restart", name, asking.by, asking.key))

    @router.delete("/api/v1/tools/{name}", tags=["tools"], **_CHANGES)
    async def uninstall_tool(
        name: fields.ToolPath,
        asking: Asking,
        query: Annotated[fields.UninstallQuery, Query()],
        body: fields.Nothing = None,
    ) -> Response:
        """Remove the tool and all that is its own; its data only with `data`."""
        return await door.accept(
            lambda: requests.change("uninstall", name, asking.by, asking.key, **query.model_dump())
        )


def _add_operations(router: APIRouter, door: Door) -> None:
    @router.get("/api/v1/operations", tags=["operations"], response_model=Page, dependencies=[Depends(caller)])
    async def list_operations(
        query: Annotated[fields.OperationsQuery, Query()], position: fields.Position = None
    ) -> Page:
        """Operations, the newest first."""
        tool = query.tool
        question = ListOperations(
            tool=None if tool is None else _let_in(lambda: requests.named(tool)),
            state=query.state,
            limit=query.limit,
            after=query.after,
            position=query.position or position,
        )
        return await door.ask(question, Page)

    @router.get(
        "/api/v1/operations/{id}",
        tags=["operations"],
        response_model=OperationView,
        dependencies=[Depends(caller)],
        responses=_refusals({404: "`operation_not_found`"}),
    )
    async def show_operation(
        id: fields.OperationPath,
        request: Request,
        query: Annotated[fields.OperationQuery, Query()],
        position: fields.Position = None,
    ) -> OperationView:
        """One operation with its steps; with `wait`, as soon as it has ended or the time is over."""
        if not is_operation_id(id):
            raise problems.no_operation(id)
        question = ShowOperation(operation=id, wait=query.wait, position=query.position or position)
        if not query.wait:
            return await door.ask(question, OperationView)
        return await _unless_stopping(asyncio.create_task(door.ask(question, OperationView, query.wait)), request)

    @router.post(
        "/api/v1/operations/{id}/cancel",
        tags=["operations"],
        **_accepts({404: "`operation_not_found`", 409: "`operation_ended`: it is too late"}),
    )
    async def cancel_operation(
        id: fields.OperationPath,
        by: Annotated[Principal, Depends(caller)],
        query: Annotated[fields.NoQuery, Query()],
        body: fields.Nothing = None,
    ) -> Response:
        """Ask the operation to end; what it began is undone. To repeat this changes nothing."""
        return _accepted(await door.gateway.cancel(id, by))


def _let_in(checked: Callable[[], Checked]) -> Checked:
    try:
        return checked()
    except Refused as refused:
        raise problems.not_let_in(refused) from refused


async def _unless_stopping(asking: asyncio.Task[Result], request: Request) -> Result:
    """A wait does not hold up the end of the process."""
    end = asyncio.create_task(stopping(request).wait())
    try:
        await asyncio.wait([asking, end], return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            raise problems.stopping()
        return await asking
    finally:
        asking.cancel()
        end.cancel()


def _accepted(done: Acceptance) -> Response:
    """202, as bytes: this is the one answer that has to be quick."""
    events = [entry.event for entry in done.record.entries]
    operation = operation_view(done.accepted, events, done.position)
    body = AcceptedOperation(operation=operation, position=done.position, waiting_for=done.waiting_for)
    headers = {"Location": operation.links["self"], "Machete-Position": str(done.position)}
    return Response(body.model_dump_json(), 202, headers, "application/json")


def _refusals(said: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {status: {"description": text, "content": {MEDIA_TYPE: schema}} for status, text in said.items()}


def _accepts(said: Mapping[int, str]) -> dict[str, Any]:
    """A route that changes something: what its documentation says."""
    accepted = {
        "description": "Accepted: it will be carried out, whatever fails meanwhile. `waiting_for` comes first.",
        "headers": {
            "Location": {"description": "The operation.", "schema": {"type": "string"}},
            "Machete-Position": {"description": "As `position` in the body.", "schema": {"type": "integer"}},
        },
    }
    busy = {
        429: "`too_many_waiting`: wait as the header Retry-After says",
        503: "`bus_unavailable`: repeat it with the same Idempotency-Key",
        507: "`storage_full`",
    }
    responses = {202: accepted, **_refusals({**said, **busy})}
    return {"status_code": 202, "response_model": AcceptedOperation, "responses": responses}


_REUSED = {422: "`idempotency_key_reused`, or a field that is not let in"}
_CHANGES = _accepts({404: "`tool_not_found`", **_REUSED})
