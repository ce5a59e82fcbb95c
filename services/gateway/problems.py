"""Everything that the gateway refuses, with the words it uses."""

from collections.abc import Iterable

from libs.contracts import missing
from libs.contracts.operations import OperationEnded
from libs.contracts.principals import Principal, Role
from libs.contracts.source import Refused, shown
from libs.contracts.streams import Reservation
from libs.runtime.http.problems import Problem
from services.gateway.domain.waiting import Crowded


def not_allowed(by: Principal, needed: Role) -> Problem:
    return Problem(
        403,
        "not_allowed",
        "Not allowed",
        f"{by.label} has the role {by.role}, and this asks for {needed}",
        role=by.role,
        needed=needed,
    )


def not_let_in(refused: Refused) -> Problem:
    return Problem(422, refused.code, "The request is not valid", refused.message)


def bad_key() -> Problem:
    return Problem(
        422,
        "idempotency_key_invalid",
        "The Idempotency-Key is not valid",
        "this Idempotency-Key is not valid; one has 1 to 200 printable ASCII characters",
    )


def key_reused(operation: str) -> Problem:
    return Problem(
        422,
        "idempotency_key_reused",
        "The Idempotency-Key was used before",
        f"this key was used before for another request, which became {operation}: take a new key for a new request",
        operation=operation,
    )


def no_tool(name: str) -> Problem:
    return Problem(
        404,
        "tool_not_found",
        "No such tool",
        missing.no_tool(name),
        name=name,
    )


def no_operation(operation: str) -> Problem:
    return Problem(404, "operation_not_found", "No such operation", missing.no_operation(operation))


def no_letter(id: str) -> Problem:
    detail = (
        f"There is no dead letter {shown(id)}: one leaves the list when it is retried or dropped, and after 30 days; "
        "GET /api/v1/dead-letters lists them."
    )
    return Problem(404, "dead_letter_not_found", "No such dead letter", detail)


def bad_cursor() -> Problem:
    detail = "Bad cursor: this cursor was not given out here; leave it out to begin at the start."
    return Problem(400, "cursor_invalid", "The request is not valid", detail)


def not_retryable(id: str, why: str) -> Problem:
    return Problem(409, "dead_letter_not_retryable", "This cannot be retried", f"{id} cannot be retried: {why}")


def letter_tool_gone(id: str, tool: str) -> Problem:
    detail = f"{id} is about the tool {shown(tool)}, which is gone: drop the letter, or install the tool anew"
    return Problem(409, "tool_gone", "The tool is gone", detail, tool=tool)


def letter_name_taken(id: str, name: str, holder: object) -> Problem:
    detail = (
        f"{id} would install {shown(name)}, which is the name of the tool {holder}: uninstall that one first, or drop "
        "the letter and install it under another name"
    )
    return Problem(409, "name_taken", "The name is taken", detail, tool=holder)


def name_taken(name: str, holder: Reservation) -> Problem:
    return Problem(
        409,
        "name_taken",
        "The name is taken",
        f"{shown(name)} is the name of the tool {holder.tool}: choose another name, or uninstall that one first",
        tool=holder.tool,
        operation=holder.operation,
    )


def operation_ended(operation: str, ended: OperationEnded) -> Problem:
    state = str(ended.ends_as)
    how = "was cancelled" if state == "cancelled" else f"has {state}"
    return Problem(
        409,
        "operation_ended",
        "The operation has ended",
        f"{operation} {how} already: there is nothing left to cancel",
        state=state,
        ended_at=ended.ended_at.isoformat(),
    )


def not_changeable(field: str) -> Problem:
    detail = f"{shown(field)} cannot be changed to this: what can be changed is status, to running or stopped"
    return Problem(422, "not_changeable", "This cannot be changed", detail, field=field[:100])


_CROWDED = {
    "tool": "{waiting} commands wait for {who}, and {limit} is the most that may",
    "principal": "{waiting} commands of {who} wait, and {limit} is the most that may",
    "platform": "{waiting} commands wait in all, and {limit} is the most that may",
}


def too_many_waiting(crowded: Crowded) -> Problem:
    scope, who = crowded.place
    return _crowded(crowded, _CROWDED[scope].format(who=who, waiting=crowded.waiting, limit=crowded.limit))


def queue_full(crowded: Crowded, action: str) -> Problem:
    """What the stream refused by bounds of its own."""
    scope, who = crowded.place
    kind = "commands wait" if scope == "platform" else f"commands to {action} {who} wait"
    return _crowded(crowded, f"as many {kind} as the queue takes, which is {crowded.limit}")


_LISTED = "(GET /api/v1/operations lists it)"
_SOME_LESS = f"cancel some of what waits {_LISTED}"
_CLEARED = {
    "tool": f"stop it with `now`, which cancels all that waits for it {_LISTED}",
    "principal": _SOME_LESS,
    "platform": _SOME_LESS,
}


def _crowded(crowded: Crowded, said: str) -> Problem:
    scope, _ = crowded.place
    return Problem(
        429,
        "too_many_waiting",
        "Too many commands wait",
        f"{said}: try again in {crowded.seconds} s, when there is room at the pace of late, or {_CLEARED[scope]}",
        headers={"Retry-After": str(crowded.seconds)},
        scope=scope,
        waiting=crowded.waiting,
        limit=crowded.limit,
        retry_after=crowded.seconds,
    )


def storage_full() -> Problem:
    return Problem(
        507,
        "storage_full",
        "No room for another command",
        "the store of NATS, or the disk beneath it, is full: nothing was accepted; make room and try again",
        headers={"Retry-After": "60"},
    )


def bus_unavailable() -> Problem:
    return Problem(
        503,
        "bus_unavailable",
        "NATS does not answer",
        "NATS does not answer, so it is not known whether the request was stored: repeat it with the same "
        "Idempotency-Key, and it is carried out once",
        headers={"Retry-After": "2"},
    )


def nothing_known() -> Problem:
    detail = "NATS does not answer, and nothing can be asked without it: see that it runs, and ask again in a moment"
    return Problem(503, "bus_unavailable", "NATS does not answer", detail, headers={"Retry-After": "2"})


def service_unavailable(why: str) -> Problem:
    return Problem(503, "service_unavailable", "No answer", why, headers={"Retry-After": "2"})


def stopping() -> Problem:
    return Problem(
        503,
        "stopping",
        "The platform is stopping",
        "the wait was cut off because the platform is stopping; what was accepted goes on later",
        headers={"Retry-After": "5"},
    )


def no_agent(name: str) -> Problem:
    return Problem(404, "agent_not_found", "No such agent", f"there is no agent named {shown(name)}", name=name)


def agent_exists(name: str) -> Problem:
    detail = f"there is an agent named {shown(name)} already: choose another name, or remove that one first"
    return Problem(409, "agent_exists", "There is such an agent", detail, name=name)


def bad_agent_name(name: str) -> Problem:
    return Problem(
        422,
        "agent_name_invalid",
        "The name is not valid",
        f"{shown(name)} cannot be an agent's name: 1 to 40 of a-z, 0-9 and -, with no - at either end",
    )


def agents_unavailable() -> Problem:
    return Problem(
        503,
        "agents_unavailable",
        "No agent can connect here",
        "this gateway has no key to sign with who may connect to NATS: set MACHETE_AGENTS_KEY, and name its public "
        "part as the issuer of the auth callout in the NATS server's configuration",
    )


def database_away(why: str) -> Problem:
    return Problem(503, "database_away", "No database", why, headers={"Retry-After": "2"})


def no_such_door(door: str, there: Iterable[str]) -> Problem:
    return Problem(
        404,
        "not_found",
        "Not found",
        f"there is nothing to ask for as {shown(door)}; there are {', '.join(sorted(there))}",
    )


def unknown_agent(name: str) -> Problem:
    return Problem(401, "unauthenticated", "Who are you?", f"there is no agent named {shown(name)} any more")


def crowded() -> Problem:
    return Problem(
        429,
        "too_many_requests",
        "Too many requests at once",
        "as many requests as are taken at one time are being answered: wait for some of the answers, and ask again",
        headers={"Retry-After": "1"},
    )


def body_not_json(error: str) -> Problem:
    return Problem(400, "malformed_json", "The body is not JSON", f"the body is not JSON: {error}")


def body_no_object() -> Problem:
    detail = "body: found something else, allowed is nothing, or one object of JSON"
    return Problem(422, "invalid_request", "The request is not valid", detail)


def field_no_text(field: str, found: object) -> Problem:
    said = "nothing" if found is None else "something else"
    detail = f"{field}: found {said}, allowed is a text: it is required"
    errors = [{"in": "body", "field": field, "found": None, "allowed": "a text: it is required"}]
    return Problem(422, "invalid_request", "The request is not valid", detail, errors=errors)


def body_too_large(limit: int) -> Problem:
    detail = f"a body may have {limit} bytes; send less"
    return Problem(413, "body_too_large", "The body is too large", detail, limit=limit)


def internal_error() -> Problem:
    detail = "this is a fault of the platform, not of the request; its log has the cause"
    return Problem(500, "internal_error", "Something went wrong here", detail)
