"""Requests that are not what they should be: bodies, headers, names, cursors, keys."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.e2e.bad_input.addresses import each
from tests.e2e.bad_input.bench import NOBODY, Bench, refused
from tests.e2e.bad_input.case import Came, Case, Provoke
from tests.support.platform_api import Accepted
from tests.support.platform_checks import fresh

TOOLS = "/api/v1/tools"
OPERATIONS = "/api/v1/operations"
LETTERS = "/api/v1/dead-letters"
NOT_THERE = "op-" + "a" * 26
NAMES = ("a;id", "$(id)", "`id`", "a b", "-rf", "a-", "A", "ä", "a" * 41, "a\x00b", "\x1b[31m", "a\u202eb", "..")


def asks(method: str, path: str, **given: Any) -> Provoke:
    return lambda bench: bench.asks(method, path, **given)


def body(content: bytes, kind: str = "application/json") -> Provoke:
    return asks("POST", TOOLS, content=content, headers={"Content-Type": kind})


def hidden(name: str) -> str:
    """Every byte, since a client would resolve dots itself."""
    return "".join(f"%{byte:02X}" for byte in name.encode())


async def in_paths(bench: Bench) -> list[Came]:
    doors = (
        ("GET", ""),
        ("POST", "/start"),
        ("POST", "/stop"),
        ("POST", "/build"),
        ("DELETE", ""),
        ("POST", "/restart"),
    )
    return [await bench.asks(method, f"{TOOLS}/{hidden(name)}{end}") for name in NAMES for method, end in doors]


async def in_queries(bench: Bench) -> list[Came]:
    return [await bench.asks("GET", f"{OPERATIONS}?tool={quote(name, safe='')}") for name in NAMES]


async def on_the_command_line(bench: Bench) -> list[Came]:
    typed = [("install", f"{NOBODY}", "--name", "$(id)"), ("start", "a;id"), ("stop", "--", "-rf"), ("show", "..")]
    return [await bench.types(*arguments) for arguments in typed]


async def taken(bench: Bench) -> Came:
    return await bench.wants(git_url=NOBODY, name=bench.neighbour_name)


async def two_at_once(bench: Bench) -> list[Came]:
    """One is accepted, all others are told that the name is taken."""
    name, url = fresh("twice"), bench.publish({"nothing": b"to run"})
    asking = (bench.platform.api.client.post(TOOLS, json={"git_url": url, "name": name}) for _ in range(5))
    answers = await asyncio.gather(*asking)
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409]
    accepted = next(answer.json() for answer in answers if answer.status_code == 202)
    path = accepted["operation"]["links"]["self"]
    await bench.platform.api.get(path, wait=30, position=accepted["position"])
    return [refused(answer) for answer in answers if answer.status_code == 409]


async def key_again(bench: Bench) -> Came:
    headers = {"Idempotency-Key": fresh("key")}
    first = await bench.platform.api.client.post(
        TOOLS, json={"git_url": NOBODY, "name": fresh("keyed")}, headers=headers
    )
    path = first.json()["operation"]["links"]["self"]
    await bench.platform.api.get(path, wait=30, position=first.json()["position"])
    return await bench.asks("POST", TOOLS, json={"git_url": NOBODY, "name": fresh("other")}, headers=headers)


async def cancelled_too_late(bench: Bench) -> Came:
    ended: Accepted = await bench.accepted(NOBODY)
    await bench.fails(ended)
    return await bench.asks("POST", f"{OPERATIONS}/{ended.operation}/cancel")


async def log_service(bench: Bench) -> Came:
    return await bench.asks("GET", f"{TOOLS}/{bench.neighbour_name}/logs?service=nobody")


async def followed(bench: Bench, query: str) -> Came:
    """A live connection that must be refused before it is one."""
    address = f"{bench.platform.url().replace('http', 'ws', 1)}/api/v1/live?{query}"
    headers = {"Authorization": f"Bearer {bench.platform.api.token}"}
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(address, additional_headers=headers, proxy=None):
            raise AssertionError("it was let in")
    answer = refusal.value.response
    problem = json.loads(answer.body or b"{}")
    return Came(answer.status_code, problem["code"], problem["detail"])


async def without_a_token(bench: Bench) -> list[Came]:
    bare = {"Authorization": ""}
    asked = (("GET", TOOLS), ("GET", OPERATIONS), ("POST", TOOLS), ("GET", "/metrics"), ("GET", "/api/v1/nothing"))
    return [await bench.asks(method, path, headers=bare) for method, path in asked]


async def with_another_token(bench: Bench) -> list[Came]:
    shown = ("Bearer not-the-token", "Bearer " + "a" * 3000)
    return [await bench.asks("GET", TOOLS, headers={"Authorization": each}) for each in shown]


REQUESTS = (
    Case("body-no-json", "a body that is no JSON", body(b'{"git_url": ')),
    Case("body-types", "a number for the Git address", body(b'{"git_url": 1}')),
    Case("body-missing", "a body without the Git address", body(b"{}")),
    Case("body-none", "no body at all", asks("POST", TOOLS)),
    Case("body-unknown", "a field that does not exist", asks("POST", TOOLS, json={"git_url": "x", "colour": "red"})),
    Case("body-kind", "JSON that is called something else", body(b'{"git_url": "x"}', "text/plain")),
    Case("body-large", "a body of two megabytes", body(b'{"git_url": "' + b"a" * 2_000_000 + b'"}')),
    Case("body-surrogate", "half a character", body(b'{"git_url": "\\ud800"}')),
    Case("token-missing", "no token", without_a_token),
    Case("token-wrong", "a token that is not valid", with_another_token),
    Case("path-unknown", "a path that does not exist", asks("GET", "/api/v1/nothing")),
    Case("method-wrong", "a method that the path does not take", asks("PUT", TOOLS)),
    Case("query-unknown", "a query that does not exist", asks("GET", f"{TOOLS}?colour=red")),
    Case("tool-unknown", "a tool that is not there", asks("GET", f"{TOOLS}/nobody")),
    Case("tool-unknown-start", "a start of a tool that is not there", asks("POST", f"{TOOLS}/nobody/start")),
    Case("operation-unknown", "an operation that is not there", asks("GET", f"{OPERATIONS}/{NOT_THERE}")),
    Case("operation-none", "an operation's id that is none", asks("GET", f"{OPERATIONS}/what")),
    Case("cancel-unknown", "a cancel of what is not there", asks("POST", f"{OPERATIONS}/{NOT_THERE}/cancel")),
    Case("cursor-bad", "a cursor that is none", asks("GET", f"{OPERATIONS}?after=what")),
    Case("letter-unknown", "a dead letter that is not there", asks("GET", f"{LETTERS}/dl-999")),
    Case("letter-retry-unknown", "a retry of what is not there", asks("POST", f"{LETTERS}/x/retry")),
    Case("letters-cursor-bad", "a cursor of dead letters that is none", asks("GET", f"{LETTERS}?after=what")),
    Case("log-tail-bad", "a log's last lines, less than none", asks("GET", f"{TOOLS}/nobody/logs?tail=-1")),
    Case("log-service-unknown", "the log of a service that a tool does not have", log_service),
    Case("live-topic-bad", "a live topic that does not exist", lambda bench: followed(bench, "topic=weather")),
    Case("live-cursor-bad", "a live cursor that is none", lambda bench: followed(bench, "topic=tools&cursor=what")),
    Case("limit-bad", "a page of none", asks("GET", f"{TOOLS}?limit=0")),
    Case("wait-bad", "a wait that is no number", asks("GET", f"{OPERATIONS}/{NOT_THERE}?wait=long")),
    Case(
        "key-bad",
        "an Idempotency-Key of 300 characters",
        asks("POST", TOOLS, json={"git_url": NOBODY}, headers={"Idempotency-Key": "k" * 300}),
    ),
)
NAMED = (
    Case(
        "name-hostile", "a name such as `a;id`, `$(id)` or `../x`", each("name", "", "../x", "a\nb", "a" * 300, *NAMES)
    ),
    Case("name-hostile-path", "the same in a path", in_paths, leaves="as it was"),
    Case("name-hostile-slash", "`../x` in a path", asks("POST", f"{TOOLS}/..%2Fx/start")),
    Case("name-long-path", "300 characters in a path", asks("POST", f"{TOOLS}/{'a' * 300}/start")),
    Case("name-hostile-query", "the same in a query", in_queries),
    Case("name-hostile-typed", "the same as an argument of `machete`", on_the_command_line, door="command"),
    Case("name-taken", "a name that a tool has", taken, leaves="as it was"),
)
IN_ORDER = (
    Case("name-twice", "the same name, five times at once", two_at_once),
    Case("key-reused", "an Idempotency-Key for another request", key_again),
    Case("cancel-late", "a cancel of what has ended", cancelled_too_late),
)
