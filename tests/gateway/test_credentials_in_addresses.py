"""A credential that somebody pastes into a request is refused and found nowhere afterwards.

Not in a stream or bucket, not in the log, not in the answer.
"""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.gateway.doors import GIT_URL, Door, accepted
from tests.gateway.ledger import Ledger
from tests.support.stage import Stage

CANARY = "canary-5ecre7-7h47-n0b0dy-m4y-533"
LONG = CANARY + "x" * 80
ADDRESSES = (
    f"https://user:{CANARY}@git.example.org/tools/a.git",
    f"https://{CANARY}@git.example.org/tools/a.git",
    f"https://:{CANARY}@git.example.org/tools/a.git",
    f"HTTPS://oauth2:{CANARY}@git.example.org/tools/a.git",
    f"https://oauth2:{LONG}@git.example.org/tools/a.git",
    f"https://user:p%40{CANARY}@git.example.org/tools/a.git",
    f"https://user:{CANARY}%0a@git.example.org/tools/a.git",
    f"https://a:b@c:{CANARY}@git.example.org/tools/a.git",
    f"https://user:{CANARY}@git.example.org:port/tools/a.git",
    f"https://user:{CANARY}@[::1/tools/a.git",
    f"https://user:{CANARY}@",
    f"http://user:{CANARY}@git.example.org/tools/a.git",
    f"ssh://git:{CANARY}@git.example.org/tools/a.git",
    f"ftp://user:{CANARY}@git.example.org/tools/a.git",
    f"file://user:{CANARY}@/srv/a.git",
    f"ext::ssh -i {CANARY} git@git.example.org",
    f"//user:{CANARY}@git.example.org/tools/a.git",
    f"user:{CANARY}@git.example.org:tools/a.git",
    f"user:{CANARY}@git.example.org/tools/a.git",
    f"https://git.example.org/tools/a.git?access_token={CANARY}",
    f"https://git.example.org/tools/a.git#{CANARY}",
    f" https://user:{CANARY}@git.example.org/tools/a.git",
    f"https://user: {CANARY}@git.example.org/tools/a.git",
    f"https://user:{CANARY}@git.example.org/tools/a.git" + "a" * 2000,
)
PASTED = f"https://user:{CANARY}@git.example.org/tools/a.git"


class Search:
    """Everything that was stored, logged or answered."""

    def __init__(self, stage: Stage, log: pytest.CaptureFixture[str]) -> None:
        self._folder = stage.server.folder
        self._log = log

    def places(self, *answers: httpx.Response, what: str = CANARY) -> list[str]:
        """Where it was found. Streams and buckets are searched as the files they are kept in, the server's log too."""
        found = [str(path.relative_to(self._folder)) for path in self._files() if what.encode() in path.read_bytes()]
        captured = self._log.readouterr()
        said = {"log": captured.err + captured.out}
        said |= {f"answer {each.status_code}": f"{each.headers} {each.text}" for each in answers}
        return [*found, *(place for place, text in said.items() if what in text)]

    def _files(self) -> list[Path]:
        return [path for path in self._folder.rglob("*") if path.is_file()]


@pytest.fixture
def search(shared_stage: Stage, capfd: pytest.CaptureFixture[str]) -> Search:
    capfd.readouterr()
    return Search(shared_stage, capfd)


async def test_the_search_finds_what_is_there(shared: Door, search: Search):
    """Otherwise the promises below would prove nothing."""
    response = await shared.install(git_url=f"https://git.example.org/tools/{CANARY[:6]}-open.git", name="open")
    accepted(response)
    places = search.places(response, what=f"{CANARY[:6]}-open")
    # The servers of a cluster have a folder each, and what they copy from one another stands elsewhere.
    streams = {place.split("/streams/")[1].split("/")[0] for place in places if "/streams/" in place}
    assert streams == {"COMMANDS", "EVENTS"}
    refusal = await shared.post(f"/tools/{CANARY[:6]}-shown/start")
    assert search.places(refusal, what=f"{CANARY[:6]}-shown") == ["log", "answer 404"]


@pytest.mark.parametrize("key", [None, "a-key"])
@pytest.mark.parametrize("git_url", ADDRESSES, ids=lambda url: url.replace(CANARY, "…")[:40])
async def test_an_address_with_credentials_is_refused_before_anything_is_stored(
    shared: Door, shared_ledger: Ledger, search: Search, git_url: str, key: str | None
):
    before = await shared_ledger.extent()
    response = await shared.install(key, git_url=git_url, name="leaky")
    assert response.status_code == 422
    assert response.json()["code"] in ("credentials_in_url", "git_url_invalid", "git_protocol_not_allowed")
    assert await shared_ledger.extent() == before
    assert search.places(response) == []


@pytest.mark.parametrize("field", ["name", "ref", "subdir"])
@pytest.mark.parametrize(
    "address",
    [
        PASTED,
        PASTED.replace(CANARY, LONG),
        f"//{PASTED}",
        f"user:{CANARY}@git.example.org:a",
        f"{CANARY}@example.org:a",
    ],
    ids=["user", "long", "slashes", "scp-like", "token"],
)
async def test_an_address_in_the_wrong_field_is_refused_and_not_repeated(
    shared: Door, shared_ledger: Ledger, search: Search, field: str, address: str
):
    before = await shared_ledger.extent()
    response = await shared.install(**{field: address})
    assert response.status_code == 422
    assert response.json()["detail"].startswith(f"{field} ")
    assert await shared_ledger.extent() == before
    assert search.places(response) == []


@pytest.mark.parametrize(
    "body",
    [
        {"url": PASTED},
        {"git_url": GIT_URL, "remote": PASTED},
        {"git_url": [PASTED]},
        {"git_url": {"url": PASTED}},
        {"git_url": GIT_URL, "start": PASTED},
        {"git_url": GIT_URL, "token": CANARY},
        PASTED,
        [PASTED],
    ],
    ids=lambda body: str(body).replace(CANARY, "…")[:60],
)
async def test_what_has_the_wrong_shape_is_not_repeated_with_its_credentials(
    shared: Door, shared_ledger: Ledger, search: Search, body: object
):
    before = await shared_ledger.extent()
    response = await shared.post("/tools", body)
    assert response.status_code == 422
    assert await shared_ledger.extent() == before
    assert search.places(response) == []


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (json.dumps({"git_url": PASTED})[:-1], "application/json"),
        (PASTED, "application/json"),
        (f"git_url={PASTED}", "application/x-www-form-urlencoded"),
        (json.dumps({"git_url": PASTED}), "text/plain"),
    ],
    ids=["half", "bare", "form", "text"],
)
async def test_a_body_that_cannot_be_read_is_not_repeated(shared: Door, search: Search, content: str, media_type: str):
    response = await shared.client.post("/api/v1/tools", content=content, headers={"content-type": media_type})
    assert response.status_code in (400, 422)
    assert search.places(response) == []


async def test_an_address_in_the_query_is_not_repeated_with_its_credentials(shared: Door, search: Search):
    answers = [
        await shared.client.post("/api/v1/tools", params={"git_url": PASTED}, json={"git_url": GIT_URL}),
        await shared.client.get("/api/v1/tools", params={"after": PASTED}),
        await shared.client.get("/api/v1/operations", params={"tool": PASTED}),
        await shared.client.get("/api/v1/operations", params={"state": PASTED}),
    ]
    assert [answer.status_code for answer in answers] == [422, 503, 422, 422]
    assert search.places(*answers) == []


async def test_a_key_and_a_token_are_kept_nowhere(shared: Door, search: Search):
    """Of a key there is only what can be derived from it, and of a token nothing."""
    answer = await shared.install(CANARY, name="keyed")
    accepted(answer)
    wrong = await shared.stranger.get("/api/v1/tools", headers={"authorization": f"Bearer {CANARY}"})
    assert wrong.status_code == 401
    assert search.places(answer, wrong) == []
    assert search.places(answer, what=shared.token) == []
