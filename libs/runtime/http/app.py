"""Puts the front together: every service's routes, health, metrics and documentation behind one guard."""

import re
from collections.abc import Mapping
from functools import cache

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from libs.runtime import metrics, scrape
from libs.runtime.health import Health, HealthReport
from libs.runtime.http.authentication import METRICS, Authenticate, Authentication
from libs.runtime.http.docs import docs_router, openapi_document
from libs.runtime.http.edge import FRONT, Edge
from libs.runtime.http.lifecycle import Lifecycle
from libs.runtime.http.limits import Bodies, Gate
from libs.runtime.http.problems import Problem, handle_problems
from libs.runtime.logging import bind
from libs.runtime.version import VERSION


def build_app(
    routers: Mapping[str, APIRouter],
    health: Health,
    authenticate: Authenticate,
    lifecycle: Lifecycle,
    metrics_token: str = "",
) -> FastAPI:
    """One app with the routes of every service in `routers` (by the service's name)."""
    app = FastAPI(title="MACHETE", version=VERSION, docs_url=None, redoc_url=None, openapi_url=None)
    app.router.redirect_slashes = False
    app.router.default = _nothing_here
    owners: dict[int, str] = {}
    for service, router in {**routers, FRONT: _front_router(health), "docs": docs_router(app)}.items():
        _add_routes(app, service, router, owners)
    app.openapi = cache(lambda: openapi_document(app))
    handle_problems(app)
    app.add_middleware(Bodies)
    app.add_middleware(Authentication, authenticate=authenticate, metrics_token=metrics_token)
    app.add_middleware(Gate, lifecycle=lifecycle)
    app.add_middleware(Edge, lifecycle=lifecycle, owners=owners)
    return app


def _add_routes(app: FastAPI, service: str, router: APIRouter, owners: dict[int, str]) -> None:
    """The routes themselves and not the router: one look-up less a request, and each is known by its owner."""
    for route in router.routes:
        if not isinstance(route, APIRoute | APIWebSocketRoute):
            raise TypeError(f"{service}: {route!r} is no plain route; declare all routes on one APIRouter")
        clash = next((other for other in app.routes if _same(route, other)), None)
        if clash is not None:
            raise ValueError(f"{service} and {owners[id(clash)]} both answer {route.path}")
        owners[id(route)] = service
        route.app = _spoken_for(service, route.app)
        app.router.routes.append(route)


def _spoken_for(service: str, app: ASGIApp) -> ASGIApp:
    """What is logged while this answers carries the service's name."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        with bind(service=service):
            await app(scope, receive, send)

    return answer


def _same(one: BaseRoute, other: BaseRoute) -> bool:
    methods = [getattr(route, "methods", None) or {"WEBSOCKET"} for route in (one, other)]
    # What a parameter is called makes no difference to what it matches.
    paths = [re.sub(r"{[^}]*}", "{}", getattr(route, "path", "")) for route in (one, other)]
    return paths[0] == paths[1] and bool(methods[0] & methods[1])


def _front_router(health: Health) -> APIRouter:
    router = APIRouter()

    @router.get("/api/health", responses={503: {"model": HealthReport}}, response_model=HealthReport)
    async def read_health() -> Response:
        """Is it well? 200 when it can do its work, 503 when something it needs is missing."""
        report = await health.report()
        return JSONResponse(report.model_dump(), 200 if report.ready else 503)

    @router.get(METRICS, include_in_schema=False)
    async def read_metrics() -> Response:
        await health.report()
        return Response(await scrape.answer(), headers={"content-type": metrics.CONTENT_TYPE})

    return router


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    problem = Problem(404, "not_found", "Not found", "there is nothing here; /api/docs lists what there is")
    if scope["type"] == "websocket":
        await problem.response()(scope, receive, send)
    else:
        raise problem
