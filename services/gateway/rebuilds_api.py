"""Making anew what the platform shows, over HTTP: for administrators."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from libs.contracts.principals import Principal
from libs.contracts.queries import RebuildTables, ShowRebuild
from libs.contracts.views import RebuildView
from services.gateway import fields
from services.gateway.dependencies import Backend, caller, refusals

_AWAY = {503: "`database_away`, `bus_unavailable`, `service_unavailable`"}


def add_rebuilds(router: APIRouter, backend: Backend) -> None:
    @router.post(
        "/api/v1/status/rebuild",
        tags=["status"],
        status_code=202,
        response_model=RebuildView,
        responses=refusals(_AWAY),
    )
    async def rebuild_status(
        by: Annotated[Principal, Depends(caller)],
        query: Annotated[fields.NoQuery, Query()],
        response: Response,
        body: fields.Nothing = None,
    ) -> RebuildView:
        """Make the tables that questions are answered from anew, from what the streams hold.

        Meanwhile everything is answered from the old ones. One that is under way already is not begun again.
        """
        rebuild = await backend.ask(RebuildTables(requested_by=by), RebuildView)
        response.headers["Location"] = rebuild.links["self"]
        return rebuild

    @router.get(
        "/api/v1/rebuilds/{id}",
        tags=["status"],
        response_model=RebuildView,
        dependencies=[Depends(caller)],
        responses=refusals({404: "`rebuild_not_found`: only the last one is kept", **_AWAY}),
    )
    async def show_rebuild(
        id: Annotated[str, Path(description="Its id, rb-…", max_length=fields.LONGEST_NAME)],
        query: Annotated[fields.NoQuery, Query()],
    ) -> RebuildView:
        """How far it has come."""
        return await backend.ask(ShowRebuild(rebuild=id), RebuildView)
