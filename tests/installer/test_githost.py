"""The little Git server of demo and tests: it publishes, and can be made to do nothing else."""

import http.client
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.githost import FolderHost, GitHost, git, git_environment
from tests.support.processes import until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    (tmp_path / "root").mkdir()
    with GitHost(tmp_path / "root") as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "a-tool"
    made.mkdir()
    (made / "Dockerfile").write_text("FROM scratch\n")
    (made / ".gitignore").write_text("*.pyc\n")
    (made / "x.pyc").write_text("")
    return made


def cloned(url: str, target: Path) -> list[str]:
    subprocess.run(["git", "clone", "--quiet", url, str(target)], env=git_environment(), check=True)
    return sorted(path.name for path in target.iterdir() if path.name != ".git")


def status(host: GitHost, method: str, path: str, body: bytes | None = None, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", int(host.address.rpartition(":")[2]), timeout=10)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_a_published_folder_can_be_cloned(host: GitHost, folder: Path, tmp_path: Path) -> None:
    url = host.publish(folder)
    assert url.endswith("/a-tool.git")
    assert cloned(url, tmp_path / "clone") == [".gitignore", "Dockerfile"]


def test_publishing_again_adds_a_commit_only_where_something_changed(
    host: GitHost, folder: Path, tmp_path: Path
) -> None:
    def commits() -> list[str]:
        return git(f"--git-dir={host.repository('a-tool')}", "rev-list", "main").split()

    url = host.publish(folder)
    first = commits()
    assert (host.publish(folder), commits()) == (url, first)
    (folder / "new").write_text("x")
    host.publish(folder)
    assert commits()[1:] == first
    assert "new" in cloned(url, tmp_path / "clone")


def test_the_same_content_is_the_same_commit_everywhere(host: GitHost, folder: Path) -> None:
    host.publish(folder, "one")
    host.publish(folder, "two")
    one, two = (git(f"--git-dir={host.repository(name)}", "rev-parse", "main") for name in ("one", "two"))
    assert one == two


def test_a_machines_own_git_configuration_does_not_count(
    host: GitHost, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = tmp_path / "gitconfig"
    evil.write_text(f"[core]\n\thooksPath = {tmp_path}\n\tfsmonitor = touch {tmp_path}/ran\n[user]\n\tname = me\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(evil))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    host.publish(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/a-tool.git/"),
        ("GET", "/a-tool.git/HEAD"),
        ("GET", "/a-tool.git/config"),
        ("GET", "/a-tool.git/objects/info/packs"),
        ("GET", "/hidden.git/info/refs?service=git-upload-pack"),
        ("GET", "/../root/a-tool.git/info/refs?service=git-upload-pack"),
        ("GET", "/a-tool.git/../hidden.git/info/refs?service=git-upload-pack"),
        ("GET", "/%61-tool.git/info/refs?service=git-upload-pack"),
        ("POST", "/a-tool.git/git-receive-pack"),
        ("POST", "/a-tool.git/info/refs"),
        ("GET", "/a-tool.git/git-upload-pack"),
    ],
)
def test_nothing_but_the_reading_of_what_is_published_is_answered(
    host: GitHost, folder: Path, method: str, path: str
) -> None:
    host.publish(folder)
    git("init", "--quiet", "--bare", str(host.repository("hidden")))
    assert status(host, method, path, b"" if method == "POST" else None) == 404


@pytest.mark.parametrize("query", ["service=git-receive-pack", "", "service=git-upload-pack&x=1"])
def test_a_push_is_not_even_announced(host: GitHost, folder: Path, query: str) -> None:
    host.publish(folder)
    assert status(host, "GET", f"/a-tool.git/info/refs?{query}") == 403


def test_a_request_too_large_is_not_read(host: GitHost, folder: Path) -> None:
    host.publish(folder)
    assert status(host, "POST", "/a-tool.git/git-upload-pack", b"x", Content_Length="99999999999") == 400


@pytest.mark.parametrize("name", ["../x", "A", "a b", "-x", "x/y"])
def test_a_name_that_is_no_address_is_not_published(host: GitHost, folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be published"):
        host.publish(folder, name)


def test_the_program_publishes_what_lies_there_when_it_is_fetched(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with FolderHost(tmp_path / "root", port=0, host="127.0.0.1") as host:
        url = host.publish(folder)
        assert cloned(url, tmp_path / "before") == [".gitignore", "Dockerfile"]
        (folder / "later").write_text("x")
        assert cloned(url, tmp_path / "after") == [".gitignore", "Dockerfile", "later"]
        shutil.rmtree(folder)
        assert status(host, "GET", "/a-tool.git/info/refs?service=git-upload-pack") == 500


def test_an_address_that_stands_for_all_is_shown_as_one_to_connect_to(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with FolderHost(tmp_path / "root", port=0, host="0.0.0.0") as host:
        url = host.publish(folder)
        assert "0.0.0.0" not in url
        assert cloned(url, tmp_path / "clone") == [".gitignore", "Dockerfile"]


def test_the_program_says_in_one_line_what_it_cannot_publish(folder: Path, tmp_path: Path) -> None:
    odd, twin = tmp_path / "Not A Name", tmp_path / "elsewhere" / "a-tool"
    odd.mkdir()
    twin.mkdir(parents=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        cases = (
            ([str(tmp_path / "nowhere")], "nowhere is no folder"),
            ([str(folder / "Dockerfile")], "Dockerfile is no folder"),
            ([str(odd)], "cannot be published"),
            ([str(folder), str(twin)], "both be published as a-tool"),
            ([str(folder), "--port", port], "in use"),
            ([str(folder), "--port", "99999"], "0-65535"),
            ([str(folder), "--host", "192.0.2.77"], "assign"),
        )
        for arguments, said in cases:
            argv = [sys.executable, "-m", "deploy.githost", *arguments]
            done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
            assert done.returncode == 2
            (line,) = done.stderr.splitlines()
            assert said in line


async def test_as_a_program_it_prints_the_address_and_ends_on_a_signal(folder: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "deploy.githost", str(folder)]
    program = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert program.stdout is not None
    assert cloned(program.stdout.readline().strip(), tmp_path / "clone") == [".gitignore", "Dockerfile"]
    program.terminate()
    await until(lambda: program.poll() is not None)
    assert program.returncode == 0
    program.stdout.close()
