"""Dead letters over HTTP: for administrators, since what nobody could handle may hold anything."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from libs.contracts.letters import LetterDetail, LetterPage
from libs.contracts.principals import Principal
from services.gateway import fields
from services.gateway.dead_letters import DeadLetters, begin_counting
from services.gateway.dependencies import (
    REUSED,
    Asking,
    Backend,
    accepted_answer,
    accepted_operation,
    accepts,
    caller,
    refusals,
)

_GONE = {404: "`dead_letter_not_found`"}
_AWAY = {503: "`bus_unavailable`"}
_NOT_NOW = {409: "`dead_letter_not_retryable`: it cannot be read; `tool_gone`; `name_taken`"}

LetterPath = Annotated[str, Path(description="Its id, dl-…", max_length=fields.LONGEST_NAME)]
By = Annotated[Principal, Depends(caller)]


def add_letters(router: APIRouter, backend: Backend) -> None:
    begin_counting()

    def letters() -> DeadLetters:
        return DeadLetters(backend.bus, backend.gateway, backend.protocols)

    @router.get(
        "/api/v1/dead-letters",
        tags=["dead letters"],
        response_model=LetterPage,
        dependencies=[Depends(caller)],
        responses=refusals(_AWAY),
    )
    async def list_dead_letters(query: Annotated[fields.LettersQuery, Query()]) -> LetterPage:
        """What could not be handled and is kept with its reason, the oldest first."""
        return await letters().page(query.limit, query.after)

    @router.get(
        "/api/v1/dead-letters/{id}",
        tags=["dead letters"],
        response_model=LetterDetail,
        dependencies=[Depends(caller)],
        responses=refusals({**_GONE, **_AWAY}),
    )
    async def show_dead_letter(id: LetterPath, query: Annotated[fields.NoQuery, Query()]) -> LetterDetail:
        """One dead letter, with what the message said."""
        return await letters().show(id)

    @router.post("/api/v1/dead-letters/{id}/retry", tags=["dead letters"], **accepts({**_GONE, **_NOT_NOW, **REUSED}))
    async def retry_dead_letter(
        id: LetterPath, asking: Asking, query: Annotated[fields.NoQuery, Query()], body: fields.Nothing = None
    ) -> Response:
        """Ask for the same once more, as a new operation. The letter leaves the list; the old operation stays ended."""
        return accepted_answer(accepted_operation(await letters().retry(id, asking.by, asking.key)))

    @router.delete(
        "/api/v1/dead-letters/{id}",
        tags=["dead letters"],
        status_code=204,
        responses=refusals({**_GONE, **_AWAY}),
    )
    async def drop_dead_letter(
        id: LetterPath, by: By, query: Annotated[fields.NoQuery, Query()], body: fields.Nothing = None
    ) -> Response:
        """Throw the letter away. There is no way back."""
        await letters().drop(id, by)
        return Response(status_code=204)
