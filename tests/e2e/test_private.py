"""Private repositories, installed through a whole platform: the credential opens them and is kept nowhere."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.support.git_repos import commit_files
from tests.support.git_server import GitServer
from tests.support.platform import Platform, split_platform
from tests.support.platform_checks import fresh
from tests.support.platform_tools import web
from tests.support.ssh_server import SshServer

CANARY = "canary-token-c83d11"
OTHER = "canary-token-77e0aa"


@asynccontextmanager
async def installing(folder: Path, **environment: str) -> AsyncGenerator[Platform]:
    """A platform with these settings, in which nothing broke."""
    async with split_platform(folder, environment=environment) as platform:
        yield platform
        assert platform.complaints() == []


@pytest.fixture
def private(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "private") as server:
        commit_files(server.repository("secret-tool"), dict(web()))
        server.published.add("secret-tool")
        yield server


async def test_a_token_installs_a_private_tool_and_stands_in_nothing_that_is_kept(
    tmp_path: Path, private: GitServer
) -> None:
    private.require_login("bot", CANARY)
    tokens = f"{private.address}=bot:{CANARY},git.example.org={OTHER}"
    folder = tmp_path / "platform"
    async with installing(folder, MACHETE_GIT_TOKENS=tokens) as platform:
        url = private.url("secret-tool")
        assert (await platform.api.done(await platform.api.install(fresh("in"), url)))["state"] == "succeeded"
        private.require_login("bot", "another by now")
        refused = await platform.api.done(await platform.api.install(fresh("out"), url))
        assert refused["error"]["code"] == "git_token_refused"
        assert private.address in refused["error"]["message"]
        assert platform.nats is not None
        kept = {**files_below(folder), **files_below(platform.nats.folder)}
        assert [file for file, content in kept.items() if b"secret-tool.git" in content], "the search finds nothing"
        encoded = base64.b64encode(f"bot:{CANARY}".encode()).decode()
        for secret in (CANARY, OTHER, encoded):
            assert [str(file) for file, content in kept.items() if secret.encode() in content] == []


async def test_a_deploy_key_installs_a_private_tool_over_ssh(tmp_path: Path) -> None:
    with SshServer(tmp_path / "ssh") as server:
        commit_files(server.repository("secret-tool"), dict(web()))
        folder = tmp_path / "platform"
        async with installing(folder, MACHETE_GIT_PROTOCOLS="https,ssh") as platform:
            own = platform.data / "ssh"
            assert own.stat().st_mode & 0o777 == 0o700
            url = server.url("secret-tool")
            unknown = await platform.api.done(await platform.api.install(fresh("in"), url))
            assert unknown["error"]["code"] == "git_host_key_unknown"
            assert str(own / "known_hosts") in unknown["error"]["message"]
            server.trust(own / "known_hosts")
            keyless = await platform.api.done(await platform.api.install(fresh("in"), url))
            assert keyless["error"]["code"] == "ssh_key_missing"
            (own / "id_ed25519").write_bytes(server.key.read_bytes())
            (own / "id_ed25519").chmod(0o600)
            done = await platform.api.done(await platform.api.install(fresh("in"), url))
            assert done["state"] == "succeeded", done
            secret = server.key.read_bytes().splitlines()[2]
            assert platform.nats is not None
            kept = {**files_below(folder), **files_below(platform.nats.folder)}
            assert [file.name for file, content in kept.items() if secret in content] == ["id_ed25519"]


def files_below(folder: Path) -> dict[Path, bytes]:
    """What every file holds, but for those that are replaced or go while they are looked at."""
    found: dict[Path, bytes] = {}
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            with suppress(FileNotFoundError):
                found[file] = file.read_bytes()
    return found
