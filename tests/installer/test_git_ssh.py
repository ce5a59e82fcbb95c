"""Over ssh: one key of MACHETE's own, hosts that were made known to it, and a sentence for all that goes wrong."""

import asyncio
import re
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deploy.githost import git
from services.installer.adapters.git import GitOptions, GitSources
from services.installer.adapters.git_access import Credentials
from services.installer.domain.failures import FetchFailed
from tests.installer.conftest import Lines, left_in
from tests.installer.test_git_ends import MarkedChildren
from tests.support.git_repos import TOOL, commit_files
from tests.support.processes import marked, until
from tests.support.ssh_server import SshServer, make_key, public_half, ssh_with_port


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with SshServer(tmp_path_factory.mktemp("ssh")) as server:
        commit_files(server.repository("tool"), TOOL)
        yield server


@pytest.fixture
def ssh(running: SshServer) -> SshServer:
    """The server with one key let in, whatever the test before did."""
    running.let_in()
    return running


@pytest.fixture
def known_hosts(ssh: SshServer, tmp_path: Path) -> Path:
    file = tmp_path / "known_hosts"
    ssh.trust(file)
    return file


@pytest.fixture
def mark() -> str:
    return secrets.token_hex(8)


@pytest.fixture
async def fetches(work: Path, mark: str, known_hosts: Path, ssh: SshServer) -> AsyncIterator["Fetches"]:
    yield Fetches(work, mark, ssh.key, known_hosts)
    assert left_in(work) == []
    assert marked(mark) == []


class Fetches:
    def __init__(self, work: Path, mark: str, key: Path, known_hosts: Path):
        self.work = work
        self.mark = mark
        self.key = key
        self.known_hosts = known_hosts
        self.log = Lines()

    def sources(self, **options: float) -> GitSources:
        credentials = Credentials(ssh_key=self.key, known_hosts=self.known_hosts)
        return GitSources(MarkedChildren(self.mark), self.work, GitOptions(credentials=credentials, **options))  # pyright: ignore[reportArgumentType]

    async def commit(self, url: str, ref: str | None = None, subdir: str | None = None) -> str:
        async with self.sources().fetch(url, ref, subdir, log=self.log) as checkout:
            assert checkout.manifest.name == "a-tool"
            return checkout.commit

    async def refusal(self, url: str, **options: float) -> FetchFailed:
        with pytest.raises(FetchFailed) as failed:
            async with self.sources(**options).fetch(url, log=self.log):
                raise AssertionError("it was let in")
        return failed.value


async def test_a_repository_is_fetched_by_branch_tag_commit_and_folder(ssh: SshServer, fetches: Fetches) -> None:
    repository = ssh.repository("many")
    old = commit_files(repository, TOOL)
    new = commit_files(repository, {**TOOL, "more": b"1"})
    branch = commit_files(repository, {f"sub/folder/{name}": content for name, content in TOOL.items()}, "next")
    git(f"--git-dir={repository}", "tag", "-m", "One", "v1.0", old)
    url = ssh.url("many")
    assert await fetches.commit(url) == new
    assert await fetches.commit(url, "v1.0") == old
    assert await fetches.commit(url, "next", "sub/folder") == branch
    assert await fetches.commit(url, old) == old
    assert await fetches.commit(url, old[:9]) == old


async def test_the_form_without_a_protocol_is_ssh_too(
    ssh: SshServer, fetches: Fetches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(ssh_with_port(tmp_path / "bin", ssh.port)), prepend=":")
    assert await fetches.commit(ssh.scp_like("tool"))


@pytest.mark.parametrize("name", ["with space", "it's", 'a"b"c', "a;touch owned;b", "$(touch owned)", "`touch owned`"])
async def test_a_path_is_never_more_than_a_path(ssh: SshServer, fetches: Fetches, name: str) -> None:
    commit_files(ssh.repository(name), TOOL)
    assert await fetches.commit(ssh.url(name).replace(" ", "%20").replace('"', "%22").replace("`", "%60"))
    assert not list(Path.home().glob("owned"))


@pytest.mark.parametrize(
    "url",
    [
        "ssh://-oProxyCommand=touch%20owned/x",
        "ssh://a@-oProxyCommand=touch/x",
        "ssh://-oProxyCommand=touch@127.0.0.1:{port}/x",
        "-oProxyCommand=touch@127.0.0.1:x",
        "a@-oProxyCommand=touch:x",
        "ssh://a@127.0.0.1:-oProxyCommand=touch/x",
        "a@127.0.0.1:--upload-pack=touch",
        "ssh://user:s3cret@127.0.0.1:{port}/x",
        "ssh://a@127.0.0.1:{port}/x y",
        "ssh://a@127.0.0.1:{port}/x%0ay",
    ],
)
async def test_an_address_with_the_look_of_an_option_reaches_nobody(ssh: SshServer, fetches: Fetches, url: str) -> None:
    before = ssh.connections()
    refused = await fetches.refusal(url.format(port=ssh.port))
    assert refused.code in ("git_url_invalid", "credentials_in_url")
    assert "s3cret" not in str(refused)
    assert ssh.connections() == before


async def test_a_path_that_looks_like_an_option_is_a_path_to_the_server(ssh: SshServer, fetches: Fetches) -> None:
    refused = await fetches.refusal(f"ssh://{ssh.user}@127.0.0.1:{ssh.port}/--upload-pack=touch")
    assert refused.code == "git_repository_not_found"


async def test_an_unknown_host_is_refused_with_the_command_that_makes_it_known(
    ssh: SshServer, fetches: Fetches
) -> None:
    fetches.known_hosts.unlink()
    refused = await fetches.refusal(ssh.url("tool"))
    assert refused.code == "git_host_key_unknown"
    command = re.search(r"`ssh-keyscan -p (\d+) ([\d.]+) >> (\S+)`", refused.message)
    assert command is not None
    assert command.groups() == (str(ssh.port), "127.0.0.1", str(fetches.known_hosts))
    assert not fetches.known_hosts.exists()


async def test_a_host_whose_key_changed_is_told_from_an_unknown_one(ssh: SshServer, fetches: Fetches) -> None:
    other = make_key(fetches.known_hosts.with_name("other"))
    ssh.trust(fetches.known_hosts, f"[127.0.0.1]:{ssh.port} {public_half(other)}\n")
    before = fetches.known_hosts.read_text()
    refused = await fetches.refusal(ssh.url("tool"))
    assert refused.code == "git_host_key_changed"
    assert f"-R '[127.0.0.1]:{ssh.port}'" in refused.message
    assert fetches.known_hosts.read_text() == before


async def test_a_host_whose_key_was_revoked_is_refused(ssh: SshServer, fetches: Fetches) -> None:
    ssh.trust(fetches.known_hosts, f"@revoked {ssh.host_line}")
    assert (await fetches.refusal(ssh.url("tool"))).code == "git_host_key_changed"


async def test_a_key_that_is_refused_is_named_with_its_public_half(ssh: SshServer, fetches: Fetches) -> None:
    ssh.let_nobody_in()
    refused = await fetches.refusal(ssh.url("tool"))
    assert refused.code == "git_key_refused"
    fingerprint = told("ssh-keygen", "-l", "-f", f"{ssh.key}.pub").split()[1]
    assert fingerprint in refused.message
    assert refused.detail is not None
    assert refused.detail["public_key"] == public_half(ssh.key)


def told(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


async def test_without_a_key_the_command_is_told_that_makes_one(
    ssh: SshServer, fetches: Fetches, tmp_path: Path
) -> None:
    fetches.key = tmp_path / "nothing here"
    refused = await fetches.refusal(ssh.url("tool"))
    assert refused.code == "ssh_key_missing"
    assert f"-f '{fetches.key}'" in refused.message


async def test_a_key_that_others_may_read_is_not_used(ssh: SshServer, fetches: Fetches, tmp_path: Path) -> None:
    fetches.key = make_key(tmp_path / "loose")
    ssh.let_in(fetches.key)
    fetches.key.chmod(0o644)
    refused = await fetches.refusal(ssh.url("tool"))
    assert refused.code == "ssh_key_permissions"
    assert f"`chmod 600 {fetches.key}`" in refused.message
    fetches.key.chmod(0o600)
    assert await fetches.commit(ssh.url("tool"))


async def test_a_key_with_a_passphrase_asks_nobody(ssh: SshServer, fetches: Fetches, tmp_path: Path) -> None:
    fetches.key = make_key(tmp_path / "locked", passphrase="a long one")
    ssh.let_in(fetches.key)
    assert (await fetches.refusal(ssh.url("tool"))).code == "ssh_key_locked"


async def test_a_key_that_is_none_is_told_so(ssh: SshServer, fetches: Fetches, tmp_path: Path) -> None:
    fetches.key = tmp_path / "text"
    fetches.key.write_text("not a key\n")
    fetches.key.chmod(0o600)
    assert (await fetches.refusal(ssh.url("tool"))).code == "ssh_key_invalid"


async def test_no_key_agent_or_host_of_the_machine_is_used(
    ssh: SshServer, fetches: Fetches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = told("ssh-agent", "-a", str(tmp_path / "agent"))
    pid = re.search(r"SSH_AGENT_PID=(\d+)", agent)
    assert pid is not None
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        told("ssh-add", "-q", str(ssh.key))
        assert public_half(ssh.key) in told("ssh-add", "-L")
        fetches.key = tmp_path / "none"
        assert (await fetches.refusal(ssh.url("tool"))).code == "ssh_key_missing"
    finally:
        monkeypatch.setenv("SSH_AGENT_PID", pid[1])
        told("ssh-agent", "-k")


async def test_the_data_folder_may_have_any_name(ssh: SshServer, tmp_path: Path, mark: str) -> None:
    folder = tmp_path / """it's 100% "odd" ${HOME} $(x)"""
    folder.mkdir()
    key, known_hosts = folder / "id key", folder / "known hosts"
    key.write_bytes(ssh.key.read_bytes())
    key.chmod(0o600)
    ssh.trust(known_hosts)
    assert await Fetches(folder / "work", mark, key, known_hosts).commit(ssh.url("tool"))


async def test_a_machine_without_ssh_is_told_what_to_install(
    ssh: SshServer, fetches: Fetches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("git", "sh"):
        (programs / name).symlink_to(told("which", name).strip())
    monkeypatch.setenv("PATH", str(programs))
    assert (await fetches.refusal(ssh.url("tool"))).code == "ssh_missing"


# Servers that misbehave


async def test_a_server_that_says_nothing_is_left_in_time(ssh: SshServer, fetches: Fetches) -> None:
    ssh.let_in(running=ssh.program("exec cat > /dev/null"))
    assert (await fetches.refusal(ssh.url("tool"), timeout=2.0)).code == "fetch_too_slow"


async def test_a_server_that_never_greets_is_left_in_time(fetches: Fetches) -> None:
    silent = await asyncio.start_server(lambda reader, writer: asyncio.sleep(0), "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        refused = await fetches.refusal(f"ssh://a@127.0.0.1:{port}/x", timeout=1.5)
    assert refused.code == "fetch_too_slow"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("echo 'Welcome to this machine!'", "git_not_a_repository"),
        ("head -c 300000 /dev/zero", "git_not_a_repository"),
        ("exit 0", "git_failed"),
        ("echo 'ERROR: Repository not found.' >&2; exit 1", "git_repository_not_found"),
        (r"printf '\033[31m\033]8;;http://evil\007 gone' >&2; exit 1", "git_failed"),
    ],
)
async def test_a_server_that_speaks_no_git_is_told_so(ssh: SshServer, fetches: Fetches, said: str, code: str) -> None:
    ssh.let_in(running=ssh.program(said))
    refused = await fetches.refusal(ssh.url("tool"))
    assert refused.code == code
    assert str(fetches.log).replace("\n", "").isprintable()


async def test_a_server_that_is_not_there(fetches: Fetches, ssh: SshServer) -> None:
    with SshServer(ssh.folder / "gone") as gone:
        url = gone.url("tool")
    assert (await fetches.refusal(url)).code == "git_host_unreachable"


async def test_a_host_that_there_is_not(fetches: Fetches) -> None:
    assert (await fetches.refusal("ssh://git@nowhere.invalid/x")).code == "git_host_unknown"


async def test_a_server_killed_in_the_middle_leaves_nothing(fetches: Fetches, tmp_path: Path) -> None:
    with SshServer(tmp_path / "doomed") as doomed:
        commit_files(doomed.repository("tool"), {**TOOL, "noise": secrets.token_bytes(300_000)})
        held = tmp_path / "held"
        # Only the session that carries the files is as long as that; what comes before it passes.
        piece = f"dd bs=1 count=100000 2> /dev/null; dd bs=1 count=1 of={held} 2> /dev/null; exec cat > /dev/null"
        and_no_end = "exec sleep 60"  # until the server is killed, what is heard from it stays open, and silent
        doomed.let_in(running=doomed.program(f'eval "$SSH_ORIGINAL_COMMAND" | {{ {piece}; }}; {and_no_end}'))
        fetches.key = doomed.key
        doomed.trust(fetches.known_hosts)
        fetching = asyncio.create_task(fetches.refusal(doomed.url("tool")))
        await until(lambda: held.exists() and held.stat().st_size > 0)
        assert marked(fetches.mark)
        doomed.kill()
        async with asyncio.timeout(10):
            assert (await fetching).code == "git_connection_lost"


async def test_a_cancelled_fetch_leaves_no_ssh(ssh: SshServer, fetches: Fetches) -> None:
    ssh.let_in(running=ssh.program("exec cat > /dev/null"))
    before = ssh.connections()
    fetching = asyncio.create_task(fetches.refusal(ssh.url("tool")))
    await until(lambda: ssh.connections() > before)
    fetching.cancel()
    await asyncio.wait({fetching}, timeout=5)
    assert fetching.cancelled()
    assert marked(fetches.mark) == []
