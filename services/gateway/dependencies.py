"""What every route of the gateway stands on: who asks, what is let in, and how an accepted change is answered."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request, Response
from pydantic import BaseModel

from libs.contracts.envelope import Frozen
from libs.contracts.principals import Principal
from libs.contracts.queries import Question
from libs.contracts.source import Refused
from libs.contracts.views import AcceptedOperation
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unanswerable, Unavailable
from libs.runtime.http.problems import MEDIA_TYPE, Problem
from services.gateway import fields, problems
from services.gateway.admission import Admission
from services.gateway.domain import requests
from services.gateway.domain.roles import NEEDED, may
from services.gateway.domain.views import operation_view
from services.gateway.handlers import Acceptance, Gateway

# The status service has its own patience for a position; after that it says so.
PATIENCE = 10.0

Result = TypeVar("Result", bound=Frozen)
Checked = TypeVar("Checked")


class Backend:
    """What the routes stand on. `gateway` and `bus` are there while the service runs."""

    def __init__(self, protocols: Iterable[str]) -> None:
        self.protocols = frozenset(protocols)
        self.gateway: Gateway
        self.bus: Bus

    def open(self, bus: Bus, patience: float, admission: Admission) -> None:
        self.bus, self.gateway = bus, Gateway(bus, patience, admission)

    async def accept(self, request: Callable[[], requests.Request]) -> Response:
        return accepted_answer(accepted_operation(await self.gateway.accept(let_in(request))))

    async def ask(self, question: Question, result: type[Result], wait: float = 0) -> Result:
        try:
            return await self.bus.ask(question, result, patience=wait + PATIENCE)
        except Unanswerable as answer:
            raise Problem.of(answer.problem, answer.status) from answer
        except Unavailable as problem:
            if not self.bus.connected:
                raise problems.nothing_known() from problem
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


def let_in(checked: Callable[[], Checked]) -> Checked:
    try:
        return checked()
    except Refused as refused:
        raise problems.not_let_in(refused) from refused


def accepted_operation(done: Acceptance) -> AcceptedOperation:
    """The body of a 202."""
    events = [entry.event for entry in done.record.entries]
    operation = operation_view(done.accepted, events, done.position)
    return AcceptedOperation(operation=operation, position=done.position, waiting_for=done.waiting_for)


def accepted_answer(accepted: AcceptedOperation, body: BaseModel | None = None) -> Response:
    """202, as bytes: this is the one answer that has to be quick. `body` stands in the place of `accepted`."""
    headers = {"Location": accepted.operation.links["self"], "Machete-Position": str(accepted.position)}
    return Response((body or accepted).model_dump_json(), 202, headers, "application/json")


def refusals(said: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {status: {"description": text, "content": {MEDIA_TYPE: schema}} for status, text in said.items()}


def accepts(said: Mapping[int, str], body: type[BaseModel] = AcceptedOperation) -> dict[str, Any]:
    """A route that changes something: what its documentation says. `body` is what a 202 holds."""
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
    responses = {202: accepted, **refusals({**said, **busy})}
    return {"status_code": 202, "response_model": body, "responses": responses}


REUSED = {422: "`idempotency_key_reused`, or a field that is not let in"}
CHANGES = accepts({404: "`tool_not_found`", **REUSED})
