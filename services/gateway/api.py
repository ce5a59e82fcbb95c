"""The gateway's HTTP edge: `/api/v1`, as OpenAPI at `/api/docs` describes it."""

import asyncio
from collections.abc import Callable, Coroutine
from inspect import signature
from typing import Annotated, Any, TypeVar, get_args

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.routing import APIRoute

from libs.contracts.envelope import Frozen
from libs.contracts.names import is_operation_id
from libs.contracts.principals import Principal
from libs.contracts.queries import ListOperations, ListTools, ShowOperation, ShowTool
from libs.contracts.views import OperationView, Page, ToolView
from libs.runtime.http.lifecycle import stopping
from services.gateway import earlier, fields, problems
from services.gateway.agency import Agency
from services.gateway.agents_api import add_agents
from services.gateway.dependencies import (
    CHANGES,
    REUSED,
    Asking,
    Backend,
    accepted_answer,
    accepted_operation,
    accepts,
    asker,
    caller,
    let_in,
    refusals,
)
from services.gateway.domain import requests
from services.gateway.domain.roles import NEEDED
from services.gateway.letters_api import add_letters
from services.gateway.rebuilds_api import add_rebuilds

Result = TypeVar("Result", bound=Frozen)


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


def routes(backend: Backend, agency: Agency) -> APIRouter:
    router, changes = APIRouter(), APIRouter(route_class=Change)
    _add_tools(router, backend)
    _add_changes(changes, backend)
    router.routes.extend(changes.routes)
    _add_operations(router, backend)
    add_rebuilds(router, backend)
    add_letters(router, backend)
    earlier.add_routes(router, backend)
    add_agents(router, agency)
    served = {
        (method, route.path) for route in router.routes if isinstance(route, APIRoute) for method in route.methods or ()
    }
    if served != set(NEEDED):
        raise ValueError(f"routes and the table of roles differ: {sorted(served ^ set(NEEDED))}")
    return router


def _add_tools(router: APIRouter, backend: Backend) -> None:
    @router.get("/api/v1/tools", tags=["tools"], response_model=Page, dependencies=[Depends(caller)])
    async def list_tools(query: Annotated[fields.PageQuery, Query()], position: fields.Position = None) -> Page:
        """All tools, by name."""
        return await backend.ask(
            ListTools(limit=query.limit, after=query.after, position=query.position or position), Page
        )

    @router.get(
        "/api/v1/tools/{name}",
        tags=["tools"],
        response_model=ToolView,
        dependencies=[Depends(caller)],
        responses=refusals({404: "`tool_not_found`"}),
    )
    async def show_tool(
        name: fields.ToolOrId, query: Annotated[fields.PositionQuery, Query()], position: fields.Position = None
    ) -> ToolView:
        """One tool, whole."""
        tool = let_in(lambda: requests.named(name))
        return await backend.ask(ShowTool(tool=tool, position=query.position or position), ToolView)

    @router.post(
        "/api/v1/tools", tags=["tools"], **accepts({409: "`name_taken`: another tool has this name", **REUSED})
    )
    async def install_tool(
        body: fields.InstallBody, asking: Asking, query: Annotated[fields.NoQuery, Query()]
    ) -> Response:
        """Install a tool from a Git repository: fetch it, build it and, if asked for, start it."""
        wanted = requests.Wanted(**body.model_dump())
        return await backend.accept(lambda: requests.install(asking.by, asking.key, wanted, backend.protocols))


def _add_changes(router: APIRouter, backend: Backend) -> None:
    @router.post("/api/v1/tools/{name}/build", tags=["tools"], **CHANGES)
    async def build_tool(
        name: fields.ToolPath,
        asking: Asking,
        query: Annotated[fields.NoQuery, Query()],
        body: fields.Nothing = None,
    ) -> Response:
        """Build the images of the tool's current release again. What runs goes on running."""
        return await backend.accept(lambda: requests.change("build", name, asking.by, asking.key))

    @router.post("/api/v1/tools/{name}/start", tags=["tools"], **CHANGES)
    async def start_tool(
        name: fields.ToolPath,
        asking: Asking,
        query: Annotated[fields.NoQuery, Query()],
        body: fields.Nothing = None,
    ) -> Response:
        """Run the tool's current release and wait until it is ready."""
        return await backend.accept(lambda: requests.change("start", name, asking.by, asking.key))

    @router.post("/api/v1/tools/{name}/stop", tags=["tools"], **CHANGES)
    async def stop_tool(
        name: fields.ToolPath,
        asking: Asking,
        query: Annotated[fields.StopQuery, Query()],
        body: fields.Nothing = None,
    ) -> Response:
        """Stop the tool. With `now`, what runs and what waits for it is cancelled first."""
        return await backend.accept(lambda: requests.change("stop", name, asking.by, asking.key, now=query.now))

    @router.post("/api/v1/tools/{name}/restart", tags=["tools"], **CHANGES)
    async def restart_tool(
        name: fields.ToolPath,
        asking: Asking,
        query: Annotated[fields.NoQuery, Query()],
        body: fields.Nothing = None,
    ) -> Response:
        """Stop the tool and start it again."""
        return await backend.accept(lambda: requests.change("restart", name, asking.by, asking.key))

    @router.delete("/api/v1/tools/{name}", tags=["tools"], **CHANGES)
    async def uninstall_tool(
        name: fields.ToolPath,
        asking: Asking,
        query: Annotated[fields.UninstallQuery, Query()],
        body: fields.Nothing = None,
    ) -> Response:
        """Remove the tool and all that is its own; its data only with `data`."""
        return await backend.accept(
            lambda: requests.change("uninstall", name, asking.by, asking.key, **query.model_dump())
        )


def _add_operations(router: APIRouter, backend: Backend) -> None:
    @router.get("/api/v1/operations", tags=["operations"], response_model=Page, dependencies=[Depends(caller)])
    async def list_operations(
        query: Annotated[fields.OperationsQuery, Query()], position: fields.Position = None
    ) -> Page:
        """Operations, the newest first."""
        tool = query.tool
        question = ListOperations(
            tool=None if tool is None else let_in(lambda: requests.named(tool)),
            state=query.state,
            limit=query.limit,
            after=query.after,
            position=query.position or position,
        )
        return await backend.ask(question, Page)

    @router.get(
        "/api/v1/operations/{id}",
        tags=["operations"],
        response_model=OperationView,
        dependencies=[Depends(caller)],
        responses=refusals({404: "`operation_not_found`"}),
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
            return await backend.ask(question, OperationView)
        return await _unless_stopping(asyncio.create_task(backend.ask(question, OperationView, query.wait)), request)

    @router.post(
        "/api/v1/operations/{id}/cancel",
        tags=["operations"],
        **accepts({404: "`operation_not_found`", 409: "`operation_ended`: it is too late"}),
    )
    async def cancel_operation(
        id: fields.OperationPath,
        by: Annotated[Principal, Depends(caller)],
        query: Annotated[fields.NoQuery, Query()],
        body: fields.Nothing = None,
    ) -> Response:
        """Ask the operation to end; what it began is undone. To repeat this changes nothing."""
        return accepted_answer(accepted_operation(await backend.gateway.cancel(id, by)))


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
