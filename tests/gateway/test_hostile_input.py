"""Names, refs, folders and addresses that were somebody's way in elsewhere: refused at this door, nothing stored."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.gateway.doors import GIT_URL, Door, accepted, door, refused
from tests.gateway.ledger import Ledger
from tests.support.stage import Stage

NAMES = (
    "a;id", "$(id)", "../x", "", "a" * 300, "a" * 41, "`id`", "a b", "a\nb", "a\x00b", "-rf", "a-", "A", "ä", "a.b",
    "a/b", "*", ">", "a\u202eb", "a_b", ".", "..", "\x1b[31m", "a%00",
)  # fmt: skip
REFS = (
    "main;curl", "--upload-pack=x", "-x", "a\nb", 'a"b', "a'b", "a b", "", "a..b", "a^b", "a~1", "a:b", "a?b", "a*",
    "a[b", "a\\b", "/a", "a/", "a//b", "a.lock", ".a", "a/.b", "@{u}", "$(id)", "`id`", "a|b", "a&b", "a" * 300,
    "a\x00b",
)  # fmt: skip
FOLDERS = ("../x", "a/../../x", "/etc", "..", "", ".", "a\\b", "-x", "a/-x", ".git", "a/.GIT/hooks", "a\nb", "a" * 600)
ADDRESSES = (
    "ext::sh -c id", "ext::sh", "fd::7", "/srv/git/tool.git", "./tool", "../tool", "tool", "-x", "--upload-pack=id",
    "file:///srv/git/tool.git", "http://git.example.org/tool.git", "git://git.example.org/tool.git",
    "ftp://git.example.org/tool.git", "javascript://git.example.org/tool", "https://", "https:///tool",
    "https://git.example.org", "https://git.example.org/", "https://-host/tool", "https://git.example.org:0/tool",
    "https://git.example.org:port/tool", "https://git.example.org/a b", "https://git.example.org/a\nb",
    "https://git.example.org/a%0ab", "https://git.example.org/a%00b", "https://git.example.org/a\\b",
    "https://git.example.org/tool?x=1", "https://git.example.org/tool#main", "ssh://-oProxyCommand=id/tool",
    "ssh://git@-oProxyCommand=id/tool", "-oProxyCommand=id@git.example.org:tool", "git@git.example.org:-x",
    "git@-host:tool", "", "https://git.example.org/" + "a" * 2000, "ssh://git.example.org/$(id)/\x7f",
)  # fmt: skip
CHANGES = (("POST", "/build"), ("POST", "/start"), ("POST", "/stop"), ("POST", "/restart"), ("DELETE", ""))


def named(value: str) -> str:
    return repr(value[:24])


@pytest.mark.parametrize("name", NAMES, ids=named)
async def test_a_hostile_name_is_refused_when_installing(shared: Door, shared_ledger: Ledger, name: str):
    before = await shared_ledger.extent()
    document = refused(await shared.install(name=name), 422, "tool_name_invalid")
    assert document["detail"].isprintable()
    assert "letter or digit at both ends" in document["detail"]
    assert await shared_ledger.extent() == before


@pytest.mark.parametrize("name", NAMES, ids=named)
async def test_a_hostile_name_is_refused_in_every_path(shared: Door, shared_ledger: Ledger, name: str):
    before = await shared_ledger.extent()
    # Every byte, since a client would resolve the dots itself.
    hidden = "".join(f"%{byte:02X}" for byte in name.encode())
    paths = [(method, f"/api/v1/tools/{hidden}{action}") for method, action in (*CHANGES, ("GET", ""))]
    for method, path in (*paths, ("GET", f"/api/v1/operations?tool={hidden}")):
        response = await shared.client.request(method, path)
        # No status service is there: had a question gone on to it, this would be 503.
        assert response.status_code in (404, 405, 422), (method, path, response.text)
        refused(response, response.status_code, response.json()["code"])
    assert await shared_ledger.extent() == before


@pytest.mark.parametrize("ref", REFS, ids=named)
async def test_a_hostile_ref_is_refused(shared: Door, shared_ledger: Ledger, ref: str):
    before = await shared_ledger.extent()
    assert refused(await shared.install(ref=ref), 422, "git_ref_invalid")["detail"].isprintable()
    assert await shared_ledger.extent() == before


@pytest.mark.parametrize("subdir", FOLDERS, ids=named)
async def test_a_folder_outside_the_repository_is_refused(shared: Door, shared_ledger: Ledger, subdir: str):
    before = await shared_ledger.extent()
    assert refused(await shared.install(subdir=subdir), 422, "subdir_invalid")["detail"].isprintable()
    assert await shared_ledger.extent() == before


@pytest.mark.parametrize("git_url", ADDRESSES, ids=named)
async def test_an_address_that_is_no_https_or_ssh_remote_is_refused(shared: Door, shared_ledger: Ledger, git_url: str):
    before = await shared_ledger.extent()
    response = await shared.install(git_url=git_url, name="any")
    document = refused(response, 422, response.json()["code"])
    assert document["code"] in ("git_url_invalid", "git_protocol_not_allowed")
    assert await shared_ledger.extent() == before


async def test_the_answer_names_the_protocols_that_are_allowed(shared: Door):
    document = refused(await shared.install(git_url="ftp://git.example.org/a"), 422, "git_protocol_not_allowed")
    allowed = "allowed: https, ssh (setting MACHETE_GIT_PROTOCOLS)."
    assert document["detail"] == f'Git over "ftp" is not allowed here; {allowed}'


async def test_http_and_files_are_let_in_where_the_settings_say_so(shared_stage: Stage, tmp_path: Path):
    async with door(shared_stage, tmp_path, git_protocols="http,file") as lenient:
        accepted(await lenient.install(git_url="http://127.0.0.1:3000/one.git"))
        accepted(await lenient.install(git_url="file:///srv/git/two.git"))
        refused(await lenient.install(git_url=GIT_URL), 422, "git_protocol_not_allowed")


async def test_an_address_that_gives_no_name_asks_for_one(shared: Door):
    refused(await shared.install(git_url="https://git.example.org/___.git"), 422, "tool_name_needed")
    accepted(await shared.install(git_url="https://git.example.org/___.git", name="underscores"))


@pytest.mark.parametrize(
    "id", ["a;id", "$(id)", "../x", "op-" + "a" * 300, "op-*", ">", "op-AAAAAAAAAAAAAAAAAAAAAAAAAA"]
)
async def test_what_is_no_operation_is_neither_shown_nor_cancelled(shared: Door, shared_ledger: Ledger, id: str):
    before = await shared_ledger.extent()
    for method, action in (("POST", "/cancel"), ("GET", "")):
        response = await shared.client.request(method, f"/api/v1/operations/{quote(id, safe='')}{action}")
        assert response.status_code in (404, 422)
        refused(response, response.status_code, response.json()["code"])
    assert await shared_ledger.extent() == before
