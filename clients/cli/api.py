"""The platform over HTTP. The standard library's client, because the command starts in half the time with it."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from clients.cli.exits import FAILED, REFUSED, UNREACHABLE, Ending
from clients.cli.place import Place

PATIENCE = 20.0
TRIES = 4
# The platform names its routes and headers; whoever sits at a terminal has commands.
_AT_A_TERMINAL = {
    "GET /api/v1/tools": "`machete list`",
    "GET /api/v1/operations": "`machete operations`",
    "GET /api/v1/dead-letters": "`machete dlq list`",
    "repeat it with the same Idempotency-Key, and it is carried out once": "`machete operations` tells once it answers",
}


class Unreachable(Ending):
    def __init__(self, url: str, cause: Exception) -> None:
        super().__init__(UNREACHABLE, f"{url} does not answer ({_reason(cause)}); is the platform up?", "unreachable")


class Api:
    """Every call raises `Ending`: `Unreachable`, or what the platform refused."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def get(self, path: str, *, patience: float = PATIENCE, **query: object) -> dict[str, Any]:
        return _good(*self._call("GET", _with(path, query), {}, None, patience))

    def post(self, path: str, body: object) -> dict[str, Any]:
        """Asked once: for what is no operation, and has no key."""
        return _good(*self._call("POST", path, {}, body, PATIENCE))

    def delete(self, path: str) -> None:
        _good(*self._call("DELETE", path, {}, None, PATIENCE))

    def change(self, method: str, path: str, body: object = None, **query: object) -> dict[str, Any]:
        """An accepted change. Tried again where it is not known whether it was stored: the key makes it one."""
        headers = {"Idempotency-Key": secrets.token_urlsafe(16)}
        for left in reversed(range(TRIES)):
            try:
                status, answer = self._call(method, _with(path, query), headers, body, PATIENCE)
            except Unreachable as problem:
                if not left or isinstance(problem.__cause__, ConnectionRefusedError):
                    raise
            else:
                if status != 503 or not left:
                    return _good(status, answer)
            time.sleep(1.0)
        raise AssertionError("the last try returns or raises")

    def lines(self, path: str, **query: object) -> Iterator[dict[str, Any]]:
        """NDJSON, as it comes, for as long as it comes."""
        connection = self._connect(None)
        try:
            connection.request("GET", self._path(_with(path, query)), headers=self._headers({}))
            answer = connection.getresponse()
            if answer.status != 200:
                _good(answer.status, _parsed(answer.read()))
            while (line := answer.readline()).endswith(b"\n"):
                yield json.loads(line)
        except (OSError, http.client.HTTPException) as problem:
            raise Unreachable(self.place.url, problem) from problem
        finally:
            connection.close()

    def _call(
        self, method: str, path: str, headers: Mapping[str, str], body: object, patience: float
    ) -> tuple[int, dict[str, Any]]:
        connection = self._connect(patience)
        try:
            payload = None if body is None else json.dumps(body).encode()
            typed = {"Content-Type": "application/json"} if payload is not None else {}
            connection.request(method, self._path(path), payload, self._headers({**headers, **typed}))
            answer = connection.getresponse()
            status, parsed = answer.status, _parsed(answer.read())
        except (OSError, http.client.HTTPException) as problem:
            raise Unreachable(self.place.url, problem) from problem
        finally:
            connection.close()
        return status, parsed

    def _connect(self, patience: float | None) -> http.client.HTTPConnection:
        parts = urlsplit(self.place.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=patience)

    def _path(self, path: str) -> str:
        return urlsplit(self.place.url).path.rstrip("/") + path

    def _headers(self, more: Mapping[str, str]) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.place.token}", "Accept": "application/json", **more}


def _with(path: str, query: Mapping[str, object]) -> str:
    """What is None or False is left out."""
    chosen = {name: value for name, value in query.items() if value is not None and value is not False}
    given = {name: "true" if value is True else value for name, value in chosen.items()}
    if not given:
        return path
    return f"{path}{'&' if '?' in path else '?'}{urlencode(given)}"


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def _good(status: int, body: dict[str, Any]) -> dict[str, Any]:
    if 200 <= status < 300:
        return body
    said = str(body.get("detail") or f"the platform answered {status}, and nothing more")
    for route, command in _AT_A_TERMINAL.items():
        said = said.replace(route, command)
    code = REFUSED if 400 <= status < 500 else UNREACHABLE if status in (502, 503, 504) else FAILED
    raise Ending(code, said, str(body.get("code") or f"http_{status}"), body)


def _reason(cause: Exception) -> str:
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
