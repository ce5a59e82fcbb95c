"""What is no address that MACHETE fetches from, and where there is nothing to fetch."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from deploy.githost import git
from tests.e2e.bad_input.bench import NOBODY, Bench
from tests.e2e.bad_input.case import Came, Case, Provoke
from tests.support.git_repos import commit_files
from tests.support.git_server import GitServer
from tests.support.platform_checks import fresh
from tests.support.platform_tools import web

HOST = "https://git.example.org"


def asked(**body: Any) -> Provoke:
    return lambda bench: bench.wants(**{"git_url": f"{HOST}/tool.git", **body})


def each(field: str, *values: str) -> Provoke:
    async def provoke(bench: Bench) -> list[Came]:
        return [await bench.wants(**{"git_url": f"{HOST}/tool.git", field: value}) for value in values]

    return provoke


def fetched(url: str) -> Provoke:
    return lambda bench: bench.installs(url)


def answered(status: int, body: str, **headers: str) -> Provoke:
    """The server says this to whoever asks for the repository."""

    async def provoke(bench: Bench) -> Came:
        name, forge = fresh("odd"), bench.platform.forge
        forge.answers[f"/{name}.git/info/refs"] = (status, headers, body)
        return await bench.installs(forge.url(name))

    return provoke


async def not_there(bench: Bench) -> Came:
    return await bench.installs(bench.platform.forge.url("no-such-repository"))


async def untrusted(bench: Bench) -> Came:
    return await bench.installs(f"https://127.0.0.1:{bench.tls_port}/tool.git")


async def empty(bench: Bench) -> Came:
    name, forge = fresh("empty"), bench.platform.forge
    git("init", "--quiet", "--bare", "--initial-branch=main", str(forge.repository(name)))
    forge.published.add(name)
    return await bench.installs(forge.url(name))


async def no_default_branch(bench: Bench) -> Came:
    name, forge = fresh("trunk"), bench.platform.forge
    commit_files(forge.repository(name), dict(web()), branch="trunk")
    forge.published.add(name)
    return await bench.installs(forge.url(name))


async def stands_still(bench: Bench) -> Came:
    with GitServer(bench.platform.data.parent / "slow") as slow:
        commit_files(slow.repository("tool"), {**web(), "noise": noise(400_000)})
        slow.published.add("tool")
        with slow.holding(after=100_000):
            return await bench.installs(slow.url("tool"))


async def breaks_off(bench: Bench) -> Came:
    with GitServer(bench.platform.data.parent / "broken") as broken:
        commit_files(broken.repository("tool"), {**web(), "noise": noise(400_000)})
        broken.published.add("tool")
        with broken.holding(after=100_000):
            installing = await bench.accepted(broken.url("tool"))
            await asyncio.to_thread(broken.wait_until_held)
            broken.drop_connections()
            return await bench.fails(installing)


async def too_large(bench: Bench) -> Came:
    return await bench.installs({**web(), "noise": noise(4_000_000)})


def noise(size: int) -> bytes:
    """What no compression makes smaller."""
    return secrets.token_bytes(size)


REFUSED_ADDRESSES = (
    Case("address-empty", "an empty Git address", asked(git_url="")),
    Case(
        "address-credentials",
        "a Git address with a password or a token in it",
        each("git_url", "https://user:s3cret@git.example.org/tool.git", "https://s3cret@git.example.org/tool.git"),
    ),
    Case("address-helper", "a remote helper: `ext::sh -c id`", each("git_url", "ext::sh -c id", "fd::7")),
    Case(
        "address-local",
        "a path on this machine, or `--upload-pack=…`",
        each("git_url", "/srv/git/tool.git", "./tool", "tool", "git@host:-x"),
    ),
    Case("address-dash", "a Git address that starts with `-`", each("git_url", "-x", "--upload-pack=id")),
    Case("address-file", "`file:///srv/git/tool.git`", asked(git_url="file:///srv/git/tool.git")),
    Case("address-protocol", "`git://…`", asked(git_url="git://git.example.org/tool.git")),
    Case("address-spaces", "a Git address with a space or a line end", each("git_url", f"{HOST}/a b", f"{HOST}/a\nb")),
    Case("address-query", "a Git address with `?` or `#`", each("git_url", f"{HOST}/tool?x=1", f"{HOST}/tool#main")),
    Case("address-no-host", "`https:///tool`", each("git_url", "https:///tool", "https://-host/tool")),
    Case("address-no-port", "a port that is none", asked(git_url="https://git.example.org:port/tool")),
    Case("address-no-repository", "`https://git.example.org/`", asked(git_url=f"{HOST}/")),
    Case("address-too-long", "a Git address of 3000 characters", asked(git_url=f"{HOST}/{'a' * 3000}")),
    Case(
        "address-no-name", "an address that ends in nothing to name the tool by", asked(git_url=f"{HOST}/…", name=None)
    ),
    Case("address-as-name", "an address where the name goes", each("name", f"{HOST}/tool.git", "git@host:tool")),
)
UNREACHABLE = (
    Case("host-unknown", "a host that has no address", fetched("https://nowhere.invalid/tool.git")),
    Case("host-refuses", "a host on which nobody listens", fetched(NOBODY)),
    Case("tls-untrusted", "a host whose certificate nobody vouches for", untrusted),
    Case("private-401", "a private repository", answered(401, "who are you?", WWW_Authenticate='Basic realm="git"')),
    Case("private-403", "a repository that is forbidden (HTTP 403)", answered(403, "no")),
    Case("repository-missing", "a repository that is not there", not_there),
    Case("web-page", "a web page that is no Git repository", answered(200, "<html>Welcome</html>")),
    Case("server-broken", "a server that fails (HTTP 500)", answered(500, "oh")),
    Case("redirected", "a repository that has moved to another host", answered(301, "", Location=f"{HOST}/x.git")),
    Case("redirected-file", "a redirect to `file:///etc`", answered(302, "", Location="file:///etc")),
    Case("repository-empty", "a repository without a commit", empty),
    Case("no-default-branch", "a repository whose default branch is not there", no_default_branch),
    Case("connection-lost", "a server that breaks off in the middle", breaks_off),
    Case("fetch-too-slow", "a server that stands still", stands_still),
    Case("repository-too-large", "a repository over the limit", too_large),
)
