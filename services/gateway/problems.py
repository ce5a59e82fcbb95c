"""Everything that the gateway refuses, with the words it uses."""

from libs.contracts.operations import OperationEnded
from libs.contracts.principals import Principal, Role
from libs.contracts.source import Refused, shown
from libs.contracts.streams import Reservation
from libs.runtime.http.problems import Problem


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
        "an Idempotency-Key has 1 to 200 printable ASCII characters",
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
    return Problem(404, "tool_not_found", "No such tool", f"there is no tool named {shown(name)}", name=name)


def no_operation(operation: str) -> Problem:
    detail = f"there is no operation {shown(operation)}; records are kept for 90 days"
    return Problem(404, "operation_not_found", "No such operation", detail)


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


def too_many_waiting() -> Problem:
    return Problem(
        429,
        "too_many_waiting",
        "Too many commands wait for this tool",
        "as many commands as are admitted wait for this tool: wait until some of them have ended, or cancel them",
        headers={"Retry-After": "10"},
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
        "it is not known whether the request was stored: repeat it with the same Idempotency-Key, and it is "
        "carried out once",
        headers={"Retry-After": "2"},
    )


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
