"""What a fetch refuses, each with a code and a sentence, and nothing left behind."""

import random
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.githost import git
from services.installer.adapters.git import GitSources
from services.installer.domain.failures import FetchFailed
from tests.installer.conftest import Lines, Publish, left_in, make_sources
from tests.support.git_repos import (
    FILE,
    FOLDER,
    LINK,
    TOOL,
    commit_files,
    commit_tree,
    link,
    write_object,
    write_tree,
)
from tests.support.git_server import GitServer


@pytest.fixture(autouse=True)
async def nothing_is_left(work: Path) -> AsyncIterator[None]:
    yield
    assert left_in(work) == []


async def refusal(
    sources: GitSources, url: str, ref: str | None = None, log: Lines | None = None, subdir: str | None = None
) -> FetchFailed:
    with pytest.raises(FetchFailed) as failed:
        async with sources.fetch(url, ref, subdir, log=log or Lines()):
            raise AssertionError("it was let in")
    return failed.value


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ext::sh -c 'touch /tmp/owned'", "git_url_invalid"),
        ("/etc", "git_url_invalid"),
        ("file:///etc", "git_protocol_not_allowed"),
        ("--upload-pack=touch /tmp/owned", "git_url_invalid"),
        ("http://user:s3cret@127.0.0.1/x", "credentials_in_url"),
    ],
)
async def test_an_address_that_is_not_let_in_never_reaches_git(sources: GitSources, url: str, code: str) -> None:
    refused = await refusal(sources, url)
    assert refused.code == code
    assert "s3cret" not in str(refused)


@pytest.mark.parametrize("ref", ["main;curl", "--upload-pack=x", "a\nb", "a'b", "a..b", ""])
async def test_a_ref_that_is_none_never_reaches_git(
    publish: Publish, server: GitServer, sources: GitSources, ref: str
) -> None:
    assert (await refusal(sources, publish(), ref)).code == "git_ref_invalid"
    assert server.requests == []


async def test_a_folder_outside_never_reaches_git(publish: Publish, server: GitServer, sources: GitSources) -> None:
    assert (await refusal(sources, publish(), subdir="../x")).code == "subdir_invalid"
    assert server.requests == []


async def test_an_unknown_ref_is_answered_with_the_refs_there_are(
    server: GitServer, publish: Publish, sources: GitSources
) -> None:
    url = publish()
    git(f"--git-dir={server.repository('tool')}", "tag", "v1.0", "main")
    refused = await refusal(sources, url, "v1.1")
    assert (refused.code, refused.message) == (
        "git_ref_unknown",
        'The repository has no "v1.1". There are: v1.0, main.',
    )


@pytest.mark.parametrize("ref", ["deadbee", "d" * 40, "deadbeefdeadbeef"])
async def test_an_unknown_commit_is_an_unknown_ref(publish: Publish, sources: GitSources, ref: str) -> None:
    refused = await refusal(sources, publish(), ref)
    assert (refused.code, refused.message) == ("git_ref_unknown", f'The repository has no "{ref}". There are: main.')


async def test_a_tag_of_something_that_is_no_commit_is_refused(
    server: GitServer, publish: Publish, sources: GitSources
) -> None:
    url = publish()
    at = f"--git-dir={server.repository('tool')}"
    git(at, "tag", "blob", git(at, "rev-parse", "main:Dockerfile"))
    assert (await refusal(sources, url, "blob")).code == "git_ref_not_a_commit"


async def test_an_empty_repository_is_told_from_a_missing_branch(
    server: GitServer, publish: Publish, sources: GitSources
) -> None:
    repository = server.repository("empty")
    git("init", "--quiet", "--bare", "--initial-branch=main", str(repository))
    server.published.add("empty")
    assert (await refusal(sources, server.url("empty"))).code == "repository_empty"
    commit_files(repository, TOOL, branch="trunk")
    refused = await refusal(sources, server.url("empty"))
    assert refused.code == "git_ref_unknown"
    assert refused.message.endswith("name a ref. There are: trunk.")


async def test_a_repository_that_is_not_there(server: GitServer, sources: GitSources) -> None:
    refused = await refusal(sources, server.url("nothing"))
    assert refused.code == "git_repository_not_found"
    assert refused.detail is not None
    assert "fatal: repository" in refused.detail["log"][-1]


@pytest.mark.parametrize(
    ("status", "headers", "body", "code"),
    [
        (200, {}, "<html>Welcome</html>", "git_not_a_repository"),
        (401, {"WWW_Authenticate": "Basic"}, "", "git_access_denied"),
        (403, {}, "", "git_access_denied"),
        (404, {}, "", "git_repository_not_found"),
        (500, {}, "", "git_server_failed"),
        (302, {"Location": "file:///etc"}, "", "git_protocol_not_allowed"),
        (302, {"Location": "https://user:s3cret@127.0.0.1:1/x/info/refs"}, "", "git_host_unreachable"),
    ],
)
async def test_what_a_server_answers_becomes_a_sentence(
    server: GitServer, sources: GitSources, log: Lines, status: int, headers: dict[str, str], body: str, code: str
) -> None:
    server.answers["/x.git/info/refs"] = (status, headers, body)
    refused = await refusal(sources, server.url("x"), log=log)
    assert refused.code == code
    assert "s3cret" not in f"{refused} {refused.detail} {log}"


async def test_a_redirect_opens_only_protocols_that_are_allowed(
    server: GitServer, publish: Publish, work: Path
) -> None:
    publish("real")
    server.answers["/moved.git/info/refs"] = (
        302,
        {"Location": f"{server.url('real')}/info/refs?service=git-upload-pack"},
        "",
    )
    async with make_sources(work).fetch(server.url("moved"), log=Lines()) as checkout:
        assert checkout.manifest.name == "a-tool"
    with https_that_redirects_to(server.url("real"), work.parent) as (url, authority):
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("GIT_SSL_CAINFO", str(authority))
            assert (await refusal(make_sources(work, protocols=("https",)), url)).code == "git_protocol_not_allowed"
            async with make_sources(work).fetch(url, log=Lines()) as checkout:
                assert checkout.manifest.name == "a-tool"
        assert (await refusal(make_sources(work), url)).code == "git_tls_failed"


@contextmanager
def https_that_redirects_to(url: str, folder: Path) -> Iterator[tuple[str, Path]]:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files]
    subprocess.run(argv, check=True, capture_output=True)

    class Redirect(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", url + self.path.removeprefix("/x.git"))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that does not trust the certificate goes away; that is what is tested."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Quiet(("127.0.0.1", 0), Redirect)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}/x.git", certificate
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_private_repository_never_asks_and_never_hangs(
    server: GitServer, publish: Publish, sources: GitSources
) -> None:
    url = publish()
    server.require_login("me", "s3cret")
    refused = await refusal(sources, url)
    assert refused.code == "git_access_denied"
    assert "private or does not exist" in refused.message


async def test_no_credential_of_the_machine_is_used(
    server: GitServer, publish: Publish, sources: GitSources, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = publish()
    server.require_login("me", "s3cret")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    (home / ".gitconfig").write_text(f'[url "{url}"]\n\tinsteadOf = {url}\n[credential]\n\thelper = store\n')
    (home / ".git-credentials").write_text(url.replace("://", "://me:s3cret@") + "\n")
    monkeypatch.setenv("HOME", str(home))
    assert (await refusal(sources, url)).code == "git_access_denied"


async def test_a_server_that_does_not_answer(sources: GitSources) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        refused = await refusal(sources, f"http://127.0.0.1:{taken.getsockname()[1]}/x")
    assert refused.code == "git_host_unreachable"
    assert "127.0.0.1 does not answer" in refused.message


async def test_a_host_that_there_is_not(sources: GitSources, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert (await refusal(sources, "http://nowhere.invalid/x")).code == "git_host_unknown"


async def test_ssh_never_asks(work: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"ssh://git@127.0.0.1:{taken.getsockname()[1]}/x"
        assert (await refusal(make_sources(work, protocols=("ssh",)), url)).code == "git_host_unreachable"


async def test_what_a_server_says_is_inert_in_the_log(server: GitServer, sources: GitSources, log: Lines) -> None:
    said = "who? \x1b[31m\x1b]8;;http://evil\x07 https://me:s3cret@host/x"
    server.answers["/x.git/info/refs"] = (403, {}, said)
    refused = await refusal(sources, server.url("x"), log=log)
    assert str(log).replace("\n", "").isprintable()
    assert "s3cret" not in f"{refused} {refused.detail} {log}"


# What a repository may hold


@pytest.mark.parametrize(
    ("links", "name"),
    [
        ({"out": link("/etc/passwd")}, "out"),
        ({"a/out": link("../../x")}, "a/out"),
        ({"a/b/up": link("../.."), "m": link("a/b/up/../x")}, "m"),
    ],
)
async def test_a_link_that_leads_out_is_refused_by_its_name(
    publish: Publish, sources: GitSources, links: dict[str, object], name: str
) -> None:
    refused = await refusal(sources, publish(files={**TOOL, **links}))
    assert (refused.code, f"The link {name} leads out" in refused.message) == ("link_leads_out", True)


@pytest.mark.parametrize("name", [b"..", b".git", b".", b"a/b", b".GIT"])
async def test_a_name_that_no_file_may_have_is_refused(server: GitServer, sources: GitSources, name: bytes) -> None:
    repository = server.repository("evil")
    commit_files(repository, TOOL)
    blob = write_object(repository, "blob", b"FROM x\n")
    commit_tree(repository, write_tree(repository, (FILE, b"Dockerfile", blob), (FILE, name, blob)))
    server.published.add("evil")
    assert (await refusal(sources, server.url("evil"))).code == "repository_unsafe"


def believed(data: bytes) -> list[tuple[bytes, int, str]]:
    """A tree's entries, read without a look at their names."""
    entries: list[tuple[bytes, int, str]] = []
    while data:
        head, _, rest = data.partition(b"\0")
        mode, _, name = head.partition(b" ")
        entries.append((rest[:20], int(mode, 8), name.decode()))
        data = rest[20:]
    return entries


@pytest.mark.parametrize("name", [b"..", b".git", b".", b"a/b", b".GIT"])
async def test_a_name_is_refused_whatever_the_library_lets_through(
    server: GitServer, sources: GitSources, name: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("git.objects.fun.tree_entries_from_data", believed)
    await test_a_name_that_no_file_may_have_is_refused(server, sources, name)


async def test_a_name_that_is_there_twice_is_refused(server: GitServer, sources: GitSources) -> None:
    repository = server.repository("evil")
    commit_files(repository, TOOL)
    target = write_object(repository, "blob", b"/etc")
    blob = write_object(repository, "blob", b"FROM x\n")
    inner = write_tree(repository, (FILE, b"passwd", blob))
    commit_tree(
        repository,
        write_tree(repository, (FILE, b"Dockerfile", blob), (LINK, b"x", target), (FOLDER, b"x", inner)),
    )
    server.published.add("evil")
    assert (await refusal(sources, server.url("evil"))).code == "repository_unsafe"


async def test_a_small_repository_that_stands_for_a_billion_files_is_refused(
    server: GitServer, sources: GitSources
) -> None:
    repository = server.repository("bomb")
    commit_files(repository, TOOL)
    key = write_object(repository, "blob", b"x")
    tree = write_tree(repository, *((FILE, f"f{number}".encode(), key) for number in range(10)))
    for _ in range(9):
        tree = write_tree(repository, *((FOLDER, f"f{number}".encode(), tree) for number in range(10)))
    commit_tree(repository, tree)
    server.published.add("bomb")
    refused = await refusal(sources, server.url("bomb"))
    assert (refused.code, "200000 files" in refused.message) == ("repository_too_large", True)


async def test_a_small_repository_that_unpacks_to_much_is_refused(publish: Publish, work: Path) -> None:
    url = publish(files={**TOOL, "zeros": bytes(8 * 1024**2)})
    refused = await refusal(make_sources(work, limit=4 * 1024**2), url)
    assert (refused.code, "unpacks to more than 4 MiB" in refused.message) == ("repository_too_large", True)


async def test_a_repository_over_the_limit_is_not_brought_whole(publish: Publish, work: Path) -> None:
    url = publish(files={**TOOL, "noise": random.Random(0).randbytes(4 * 1024**2)})
    refused = await refusal(make_sources(work, limit=2 * 1024**2), url)
    assert (refused.code, "is more than 2 MiB" in refused.message) == ("repository_too_large", True)


async def test_a_faulty_manifest_comes_with_all_its_faults(publish: Publish, sources: GitSources) -> None:
    refused = await refusal(sources, publish(**{"machete.yml": b"machete:\n  port: 0\n  category: x\n"}))
    assert refused.code == "manifest_invalid"
    assert refused.detail is not None
    assert [line[:14] for line in refused.detail["faults"]] == ["machete.yml:2:", "machete.yml:3:"]


async def test_a_compose_file_that_cannot_be_read_is_refused_before_anything_is_built(
    sources: GitSources, publish: Publish
) -> None:
    refused = await refusal(sources, publish(files={"compose.yaml": b"services: ["}))
    assert (refused.code, refused.message[:13]) == ("compose_invalid", "compose.yaml:")


async def test_a_folder_without_anything_to_run_is_told_what_to_add(publish: Publish, sources: GitSources) -> None:
    assert (await refusal(sources, publish(files={"README.md": b"hello"}))).code == "manifest_missing"
