"""Errors over HTTP: RFC 9457 problem documents, whatever went wrong.

`{type, title, status, detail, code}` and what helps besides: `code` is the stable word for programs,
`type` the same as a reference, `detail` one sentence for people.
"""

import json
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket, WebSocketState

from libs.contracts import problems
from libs.runtime.masking import inert, is_secret_key, masked

MEDIA_TYPE = "application/problem+json"

_OBJECT = "one object of JSON, with the header Content-Type: application/json"
_TIME = "a time and its zone, such as 2026-01-31T12:00:00Z"
_RULES = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "datetime_from_date_parsing": _TIME,
    "datetime_parsing": _TIME,
    "dict_type": _OBJECT,
    "float_parsing": "a number",
    "greater_than_equal": "{ge} or more",
    "int_parsing": "a whole number",
    "less_than_equal": "{le} or less",
    "model_attributes_type": _OBJECT,
    "model_type": _OBJECT,
    "string_pattern_mismatch": "a text that matches {pattern}",
    "string_too_long": "a text of at most {max_length} characters",
    "string_type": "a text",
    "timezone_aware": _TIME,
}
_LONGEST_SHOWN = 100
_MOST_SHOWN = 20


class Problem(HTTPException):
    """Raise it anywhere beneath a route. `extra` becomes members of the document beside the standard ones."""

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(status, detail, headers)
        self.code = code
        self.title = title
        self.extra = extra

    @classmethod
    def of(cls, problem: problems.Problem, status: int) -> "Problem":
        """A problem as the bus carries it; its `detail` mapping comes along as `context`."""
        extra = {"context": problem.detail} if problem.detail else {}
        return cls(status, problem.code, _title(problem.code), problem.message, **extra)

    @property
    def document(self) -> dict[str, Any]:
        return {
            "type": f"/problems/{self.code}",
            "title": self.title,
            "status": self.status_code,
            "detail": self.detail,
            "code": self.code,
            **self.extra,
        }

    def response(self) -> Response:
        return _ProblemResponse(self.document, self.status_code, self.headers)


class _ProblemResponse(JSONResponse):
    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        # ASCII alone: what a caller sent is shown to him, and half a surrogate pair has no other form.
        return json.dumps(content, separators=(",", ":")).encode()


def handle_problems(app: FastAPI) -> None:
    # Starlette takes None for a WebSocket; its types say Response.
    app.add_exception_handler(HTTPException, cast(Any, _on_http_exception))
    for refused in (RequestValidationError, WebSocketRequestValidationError):
        app.add_exception_handler(refused, cast(Any, _on_invalid_request))


async def _on_http_exception(connection: HTTPConnection, error: Exception) -> Response | None:
    problem = error if isinstance(error, Problem) else _known(cast(HTTPException, error), connection)
    return await _answered(connection, problem)


async def _on_invalid_request(connection: HTTPConnection, error: Exception) -> Response | None:
    invalid = cast(RequestValidationError | WebSocketRequestValidationError, error)
    errors = cast(Sequence[Mapping[str, Any]], invalid.errors())
    broken = next((each for each in errors if each["type"] == "json_invalid"), None)
    body = invalid.body if isinstance(invalid, RequestValidationError) else None
    problem = _malformed(broken, str(body)) if broken else _invalid(errors, connection)
    return await _answered(connection, problem)


async def _answered(connection: HTTPConnection, problem: Problem) -> Response | None:
    """What is still to be sent: nothing to a WebSocket, which has been told here."""
    response = problem.response()
    if isinstance(connection, WebSocket):
        if connection.application_state is WebSocketState.CONNECTING:
            await connection.send_denial_response(response)
        else:
            await connection.close(4000 + problem.status_code, inert(str(problem.detail))[:100])
        return None
    return response


def _known(error: HTTPException, connection: HTTPConnection) -> Problem:
    """What the framework itself refuses, in our shape."""
    path = inert(connection.scope["path"][:_LONGEST_SHOWN])
    details = {
        404: f"there is nothing at {path}; /api/docs lists what there is",
        405: f"{connection.scope.get('method', 'this')} is not what {path} takes; see the header Allow",
    }
    code = _code(error.status_code)
    detail = details.get(error.status_code, str(error.detail))
    return Problem(error.status_code, code, _title(code), detail, headers=error.headers)


def _code(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_").replace("'", "")
    except ValueError:
        return "error"


def _title(code: str) -> str:
    return code.replace("_", " ").capitalize()


def _malformed(error: Mapping[str, Any], body: str) -> Problem:
    position = int(error["loc"][-1])
    line = body.count("\n", 0, position) + 1
    column = position - body.rfind("\n", 0, position)
    reason = str(error.get("ctx", {}).get("error", error["msg"]))
    return Problem(
        400,
        "malformed_json",
        "The body is not JSON",
        f"the body is not JSON: {reason} at line {line}, column {column}",
        line=line,
        column=column,
    )


def _invalid(errors: Sequence[Mapping[str, Any]], connection: HTTPConnection) -> Problem:
    shown = [_explained(error, connection) for error in errors[:_MOST_SHOWN]]
    first = shown[0]
    more = f" (and {len(errors) - 1} more, see errors)" if len(errors) > 1 else ""
    found = "nothing" if first["found"] is None else json.dumps(first["found"], ensure_ascii=False)
    detail = f"{first['field']}: found {found}, allowed is {first['allowed']}{more}"
    return Problem(422, "invalid_request", "The request is not valid", detail, errors=shown)


def _explained(error: Mapping[str, Any], connection: HTTPConnection) -> dict[str, Any]:
    """`{in, field, found, allowed}`: where it stood, what was found there (null: nothing), what is allowed."""
    place, *path = cast(Sequence[str | int], error["loc"])
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    kind = str(error["type"])
    found = None if kind == "missing" else _shown(error.get("input"), secret=is_secret_key(field))
    if kind == "missing":
        allowed = "a value: it is required"
    elif kind == "extra_forbidden":
        allowed = f"no field of this name{_choices(connection, path)}"
    else:
        allowed = _rule(error)
    return {"in": place, "field": inert(field[:_LONGEST_SHOWN]) or "body", "found": found, "allowed": allowed}


def _rule(error: Mapping[str, Any]) -> str:
    """What is allowed, in a caller's words: the framework's own speak of its types."""
    said = _RULES.get(str(error["type"]))
    if said is not None:
        bounds = cast(Mapping[str, Any], error.get("ctx", {}))
        return said.format_map({name: _plain(bound) for name, bound in bounds.items()})
    return str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")


def _plain(bound: Any) -> Any:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _shown(value: Any, *, secret: bool) -> Any:
    if secret:
        return "***"
    if isinstance(value, str):
        text = inert(masked(value))
        return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
    if isinstance(value, bytes):
        return "bytes (is the header Content-Type application/json there?)"
    if isinstance(value, float) and not math.isfinite(value):
        return "not a number of JSON"
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
        return value if value is not None else "null"
    names = {"dict": "an object", "list": "a list", "int": "a very large number"}
    return names.get(type(value).__name__, type(value).__name__)


def _choices(connection: HTTPConnection, path: Sequence[str | int]) -> str:
    """The fields a body may have, where the unknown one stands at its top."""
    body = getattr(connection.scope.get("route"), "body_field", None)
    model = getattr(getattr(body, "field_info", None), "annotation", None)
    names = cast(Mapping[str, object], getattr(model, "model_fields", {}))
    return f"; there are {', '.join(names)}" if names and len(path) == 1 else ""
