"""A token opens a private repository on its own server, and is seen by nobody else."""

import asyncio
import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.contracts.source import check_git_url
from libs.runtime.settings import SettingsError
from services.installer.adapters.git import GitSources
from services.installer.adapters.git_access import Credentials
from services.installer.domain import git_tokens
from services.installer.domain.failures import FetchFailed
from services.installer.settings import Settings
from tests.installer.conftest import Lines, make_sources
from tests.support.git_repos import TOOL, commit_files
from tests.support.git_server import GitServer, MischievousHandler

CANARY = "canary-token-4be1f0"
USER = "x-access-token"


class Watched(GitServer):
    """`seen` are the Authorization headers of all requests, None where there was none."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.seen: list[str | None] = []

    def handler(self) -> type[MischievousHandler]:
        return WatchedHandler

    def add(self, name: str) -> str:
        commit_files(self.repository(name), TOOL)
        self.published.add(name)
        return self.url(name)


class WatchedHandler(MischievousHandler):
    def answer(self) -> None:
        host = self.host
        assert isinstance(host, Watched)
        host.seen.append(self.headers.get("Authorization"))
        super().answer()


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Watched]:
    with Watched(tmp_path / "private") as running:
        running.require_login(USER, CANARY)
        yield running


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Watched]:
    with Watched(tmp_path / "elsewhere") as running:
        yield running


def with_tokens(work: Path, *servers: Watched, login: str = CANARY) -> GitSources:
    logins = {git_tokens.check_server(server.address): git_tokens.check_login(login) for server in servers}
    return make_sources(work, credentials=Credentials(logins=logins))


async def refusal(sources: GitSources, url: str, log: Lines | None = None) -> FetchFailed:
    with pytest.raises(FetchFailed) as failed:
        async with sources.fetch(url, log=log or Lines()):
            raise AssertionError("it was let in")
    return failed.value


async def test_a_token_opens_a_private_repository(private: Watched, work: Path, log: Lines) -> None:
    url = private.add("tool")
    async with with_tokens(work, private).fetch(url, log=log) as checkout:
        assert checkout.manifest.name == "a-tool"
    assert CANARY not in str(log)
    assert (await refusal(make_sources(work), url)).code == "git_access_denied"


async def test_a_commit_looked_for_in_the_whole_history_gets_the_token_too(private: Watched, work: Path) -> None:
    url = private.add("tool")
    commit = commit_files(private.repository("tool"), {**TOOL, "more": b""})
    async with with_tokens(work, private).fetch(url, commit[:8], log=Lines()) as checkout:
        assert checkout.commit == commit


async def test_a_token_is_sent_to_no_other_server(private: Watched, elsewhere: Watched, work: Path) -> None:
    url = elsewhere.add("tool")
    async with with_tokens(work, private).fetch(url, log=Lines()):
        pass
    assert set(elsewhere.seen) == {None}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_token_goes_along_to_no_address_that_its_server_sends_on_to(
    private: Watched, elsewhere: Watched, work: Path, status: int
) -> None:
    target = elsewhere.add("tool")
    private.answers["/moved.git/info/refs"] = (status, {"Location": f"{target}/info/refs?service=git-upload-pack"}, "")
    refused = await refusal(with_tokens(work, private), private.url("moved"))
    assert refused.code == "git_redirected"
    assert [seen for seen in elsewhere.seen if seen is not None] == []
    assert private.seen != []


async def test_files_kept_on_another_server_do_not_get_the_token(
    private: Watched, elsewhere: Watched, work: Path
) -> None:
    """A server of files alone may say that its objects lie elsewhere; Git would go there with the same headers."""
    commit_files(elsewhere.repository("tool"), TOOL)
    elsewhere.published.add("tool")
    elsewhere.serve_files()
    url = private.add("tool")
    private.serve_files()
    for pack in private.repository("tool").joinpath("objects").rglob("*"):
        if pack.is_file():
            pack.unlink()
    private.repository("tool").joinpath("objects/info").mkdir(exist_ok=True)
    private.repository("tool").joinpath("objects/info/http-alternates").write_text(f"{elsewhere.url('tool')}/objects\n")
    await refusal(with_tokens(work, private), url)
    assert elsewhere.seen == []


async def test_a_token_that_is_not_taken_is_told_by_its_server(private: Watched, work: Path) -> None:
    refused = await refusal(with_tokens(work, private, login="other-token-93"), private.add("tool"))
    assert refused.code == "git_token_refused"
    assert private.address in refused.message
    assert "other-token-93" not in f"{refused} {refused.detail}"


async def test_a_server_that_repeats_the_token_does_not_get_it_into_the_log(
    private: Watched, work: Path, log: Lines
) -> None:
    encoded = base64.b64encode(f"{USER}:{CANARY}".encode()).decode()
    private.answers["/x.git/info/refs"] = (403, {}, f"no: {CANARY}, {encoded}, Basic {encoded}")
    refused = await refusal(with_tokens(work, private), private.url("x"), log)
    said = f"{refused} {refused.detail} {log}"
    assert "no: ***" in said
    assert CANARY not in said
    assert encoded not in said


async def test_a_token_stands_in_no_argument_and_no_file(private: Watched, work: Path) -> None:
    url = private.add("tool")
    commit_files(private.repository("tool"), {**TOOL, "noise": bytes(range(256)) * 2000})
    encoded = base64.b64encode(f"{USER}:{CANARY}".encode()).decode().encode()
    arguments: list[bytes] = []

    async def look(_: str) -> None:
        arguments.extend(arguments_of_all())
        for file in work.rglob("*"):  # noqa: ASYNC240
            if file.is_file():
                content = file.read_bytes()
                assert CANARY.encode() not in content
                assert encoded not in content

    async def fetch() -> None:
        async with with_tokens(work, private).fetch(url, log=look):
            await look("")

    with private.holding():
        fetching = asyncio.create_task(fetch())
        await asyncio.to_thread(private.wait_until_held)
        await look("")
    await fetching
    assert any(b"git" in line and url.encode() in line for line in arguments)
    assert [line for line in arguments if CANARY.encode() in line or encoded in line] == []


def arguments_of_all() -> Iterator[bytes]:
    """The command lines of all processes that are there now."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield (process / "cmdline").read_bytes()
        except OSError:
            continue


# What the settings say


@pytest.mark.parametrize(
    ("server", "origin"),
    [
        ("git.example.org", "https://git.example.org"),
        ("Git.Example.org:443", "https://git.example.org"),
        ("git.example.org:8443", "https://git.example.org:8443"),
        ("https://git.example.org/", "https://git.example.org"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("http://git:80", "http://git"),
        ("[::1]:8443", "https://[::1]:8443"),
    ],
)
def test_a_server_is_named_by_its_host_and_stands_for_https(server: str, origin: str) -> None:
    assert git_tokens.check_server(server) == origin


@pytest.mark.parametrize(
    "server", ["", "*.example.org", "ssh://git.example.org", "a b", "u@h", "h/path", "h:0", "h:99999", "*", "-h", "h\n"]
)
def test_a_server_that_is_none_is_refused(server: str) -> None:
    with pytest.raises(ValueError, match="HOST or HOST:PORT"):
        git_tokens.check_server(server)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://git.example.org/team/tool.git", True),
        ("https://GIT.example.org:443/team/tool.git", True),
        ("https://git.example.org:8443/team/tool.git", False),
        ("http://git.example.org/team/tool.git", False),
        ("https://git.example.org.evil.test/team/tool.git", False),
        ("https://evil.test/git.example.org", False),
        ("ssh://git@git.example.org/team/tool.git", False),
        ("git@git.example.org:team/tool.git", False),
    ],
)
def test_a_token_is_for_one_server_port_and_protocol(url: str, sent: bool) -> None:
    checked = check_git_url(url, ["https", "http", "ssh"])
    assert (git_tokens.token_for(checked, {"https://git.example.org": "u:t"}) is not None) is sent


def test_no_token_shows_in_what_holds_it(tmp_path: Path) -> None:
    token = git_tokens.Token("https://h", f"u:{CANARY}")
    settings = Settings.load(data=tmp_path, git_tokens=f"h={CANARY}")
    assert settings.git_logins == {"https://h": f"{USER}:{CANARY}"}
    holders = [token, settings, Credentials(logins=settings.git_logins), settings.model_dump_json()]
    assert [holder for holder in holders if CANARY in f"{holder!r} {holder}"] == []


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (f"{CANARY}", "the one at place 1 is none"),
        (f"a={CANARY},b", "the one at place 2 is none"),
        (f"a={CANARY} {CANARY}", "the pair at place 1 cannot be read: a token is"),
        ("a=", "the pair at place 1 cannot be read: a token is"),
        (f"u:{CANARY}@host={CANARY}", "the pair at place 1 cannot be read: a server is"),
        (f"a={CANARY},https://A:443={CANARY}", "there are two tokens for https://a; keep one"),
        (f"http://a={CANARY}", "does not allow http"),
    ],
)
def test_a_setting_that_cannot_be_read_is_told_without_its_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, word: str
) -> None:
    monkeypatch.setenv("MACHETE_GIT_TOKENS", text)
    with pytest.raises(SettingsError, match=re.escape(word)) as refused:
        Settings.load(data=tmp_path)
    assert CANARY not in str(refused.value)


def test_key_and_known_hosts_lie_in_the_data_folder_unless_they_are_named(tmp_path: Path) -> None:
    settings = Settings.load(data=tmp_path)
    assert settings.key_file == tmp_path / "ssh" / "id_ed25519"
    assert settings.known_hosts_file == tmp_path / "ssh" / "known_hosts"
    named = Settings.load(data=tmp_path, ssh_key=Path("~/k"), ssh_known_hosts=Path("/etc/hosts-of-ours"))
    assert (named.key_file, named.known_hosts_file) == (Path.home() / "k", Path("/etc/hosts-of-ours"))
