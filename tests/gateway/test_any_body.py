"""Whatever is sent, the fault is never found here: no body, query or key makes an answer of 5xx."""

from __future__ import annotations

import json
import string
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tests.gateway.doors import GIT_URL, Door

FIELDS = ("git_url", "name", "ref", "subdir", "start", "now", "")
RUNS = settings(
    max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

texts = some.text(max_size=60) | some.text(string.printable, max_size=60)
near = some.sampled_from([GIT_URL, "git@git.example.org:a.git", "ssh://git@h/a", "main", "a/b", "lathe", "../a", "::"])
leaves = some.none() | some.booleans() | some.integers() | some.floats() | texts | near
values = some.recursive(
    leaves, lambda inner: some.lists(inner, max_size=3) | some.dictionaries(texts, inner, max_size=3)
)
bodies = values | some.dictionaries(some.sampled_from(FIELDS) | texts, leaves | values, max_size=6)
installs = some.fixed_dictionaries(
    {"git_url": near | texts},
    optional={"name": near | texts, "ref": near | texts, "subdir": near | texts, "start": some.booleans()},
)
keys = some.none() | some.text(string.ascii_letters + string.punctuation, min_size=1, max_size=20)
CHANGES = ("/tools/lathe/build", "/tools/lathe/start", "/tools/lathe/stop", "/operations/op-1/cancel", "/tools")
JSON = {"content-type": "application/json"}


def written(body: Any) -> bytes:
    return json.dumps(body).encode("utf-8", "surrogatepass")


def decided(status: int) -> bool:
    return status in (202, 400, 404, 409, 413, 422)


@RUNS
@given(body=bodies, path=some.sampled_from(CHANGES))
async def test_any_json_is_let_in_or_refused(shared: Door, body: Any, path: str):
    answer = await shared.client.post(f"/api/v1{path}", content=written(body), headers=JSON)
    assert decided(answer.status_code), answer.text
    assert answer.status_code != 202 or path == "/tools"


@RUNS
@given(body=installs, key=keys)
async def test_any_install_is_let_in_or_refused(shared: Door, body: Any, key: str | None):
    headers = JSON if key is None else {**JSON, "idempotency-key": key}
    answer = await shared.client.post("/api/v1/tools", content=written(body), headers=headers)
    assert decided(answer.status_code), answer.text


@RUNS
@given(content=some.binary(max_size=200), path=some.sampled_from(CHANGES))
async def test_any_bytes_are_let_in_or_refused(shared: Door, content: bytes, path: str):
    answer = await shared.client.post(f"/api/v1{path}", content=content, headers=JSON)
    assert decided(answer.status_code), answer.text


@RUNS
@given(query=some.dictionaries(some.sampled_from(("now", "data", "wait", "x")) | texts, texts, max_size=3), name=texts)
async def test_any_path_and_query_is_let_in_or_refused(shared: Door, query: dict[str, str], name: str):
    hidden = "".join(f"%{byte:02X}" for byte in name.encode("utf-8", "surrogatepass")) or "-"
    for method, action in (("POST", "/stop"), ("DELETE", ""), ("POST", "/cancel")):
        place = "operations" if action == "/cancel" else "tools"
        answer = await shared.client.request(method, f"/api/v1/{place}/{hidden}{action}", params=query)
        assert decided(answer.status_code) or answer.status_code == 405, answer.text
