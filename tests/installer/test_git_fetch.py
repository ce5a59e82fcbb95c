"""Fetching with real Git over HTTP: any branch, tag or commit, a folder, and a bundle that is the commit."""

import hashlib
import random
import tarfile
from pathlib import Path

import pytest

from deploy.githost import git
from services.installer.adapters.git import GitSources, folder_size
from services.installer.domain.failures import FetchFailed
from tests.installer.conftest import Lines, Publish, left_in
from tests.support.git_repos import DOCKERFILE, MANIFEST, PROGRAM, SUBMODULE, TOOL, Odd, commit_files, link
from tests.support.git_server import GitServer


def content(bundle: Path) -> dict[str, bytes | str]:
    """Path to content, or to where a link leads."""
    with tarfile.open(bundle, "r:gz") as archive:
        found: dict[str, bytes | str] = {}
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            found[member.name] = file.read() if file else member.linkname
        return found


async def commit_of(sources: GitSources, url: str, ref: str | None, log: Lines) -> str:
    async with sources.fetch(url, ref, log=log) as checkout:
        return checkout.commit


async def test_a_repository_is_fetched_checked_and_bundled(
    server: GitServer, publish: Publish, sources: GitSources, log: Lines, work: Path
) -> None:
    url = publish()
    async with sources.fetch(url, log=log) as checkout:
        assert checkout.commit == git(f"--git-dir={server.repository('tool')}", "rev-parse", "main")
        assert (checkout.manifest.name, checkout.manifest.port) == ("a-tool", 8080)
        assert content(checkout.bundle) == TOOL
        raw = checkout.bundle.read_bytes()
        assert (checkout.digest, checkout.size) == (hashlib.sha256(raw).hexdigest(), len(raw))
    assert left_in(work) == []
    assert f"Fetched commit {checkout.commit}" in str(log)
    assert "Receiving objects: 100%" in str(log)


async def test_a_branch_a_tag_and_commits_are_found(
    server: GitServer, publish: Publish, sources: GitSources, log: Lines
) -> None:
    repository = server.repository("tool")
    at = f"--git-dir={repository}"
    url = publish()
    first = git(at, "rev-parse", "main")
    git(at, "tag", "light", first)
    git(at, "tag", "-a", "-m", "x", "v1.0", first)
    second = commit_files(repository, {**TOOL, "more": b"more"})
    third = commit_files(repository, {**TOOL, "other": b"other"}, branch="feature/one")
    wanted = {
        None: second,
        "main": second,
        "feature/one": third,
        "light": first,
        "v1.0": first,
        "refs/tags/v1.0": first,
        "refs/heads/main": second,
        first: first,
        second: second,
        first[:10]: first,
        first[:7].upper(): first,
    }
    assert {ref: await commit_of(sources, url, ref, log) for ref in wanted} == wanted


async def test_only_one_commit_of_a_history_is_brought(
    server: GitServer, publish: Publish, sources: GitSources, log: Lines
) -> None:
    url = publish(files={**TOOL, "old": random.Random(0).randbytes(500_000)})
    commit_files(server.repository("tool"), {**TOOL, "big": bytes(10)})
    async with sources.fetch(url, log=log) as checkout:
        repository = checkout.bundle.with_name("repository")
        assert git(f"--git-dir={repository}", "rev-list", "--all", "FETCH_HEAD") == checkout.commit
        assert folder_size(repository) < 100_000


async def test_a_server_of_files_alone_is_enough(
    server: GitServer, publish: Publish, sources: GitSources, log: Lines
) -> None:
    url = publish()
    first = git(f"--git-dir={server.repository('tool')}", "rev-parse", "main")
    second = commit_files(server.repository("tool"), {**TOOL, "more": b"more"})
    server.serve_files()
    assert await commit_of(sources, url, "main", log) == second
    assert await commit_of(sources, url, None, log) == second
    assert await commit_of(sources, url, first, log) == first
    assert "This server has files only" in str(log)


async def test_a_folder_of_the_repository_can_be_the_tool(publish: Publish, sources: GitSources, log: Lines) -> None:
    files = {"tools/one/machete.yml": b"name: one", "tools/one/Dockerfile": DOCKERFILE, "shared/lib": b"lib"}
    url = publish(files=files)
    async with sources.fetch(url, None, "tools/one/", log=log) as checkout:
        assert checkout.manifest.name == "one"
        assert content(checkout.bundle) == files
    with pytest.raises(FetchFailed, match="no folder tools/two; there are tools/one") as failed:
        async with sources.fetch(url, None, "tools/two", log=log):
            pass
    assert failed.value.code == "subdir_not_found"


async def test_the_same_commit_gives_the_same_bytes(publish: Publish, sources: GitSources, log: Lines) -> None:
    url = publish(files={**TOOL, **{f"f{number}": bytes([number]) * 1000 for number in range(100)}})
    bundles: list[bytes] = []
    for _ in range(2):
        async with sources.fetch(url, log=log) as checkout:
            bundles.append(checkout.bundle.read_bytes())
    assert bundles[0] == bundles[1]


async def test_a_bundle_holds_modes_links_and_odd_names_and_nothing_else(
    publish: Publish, sources: GitSources, log: Lines
) -> None:
    long = "/".join(["d" * 60] * 5) + "/file"
    odd: dict[str, bytes | Odd] = {
        "run.sh": Odd(PROGRAM, b"#!/bin/sh\n"),
        "inside": link("docs/../Dockerfile"),
        "docs/up": link("../machete.yml"),
        "größe 😀": b"x",
        long: b"deep",
        "empty": b"",
        "module": Odd(SUBMODULE, b"1" * 40),
        ".gitmodules": b'[submodule "module"]\n\tpath = module\n\turl = ext::sh\n',
        ".gitattributes": b"* export-ignore\n* text eol=crlf\n* filter=evil\n",
    }
    url = publish(files={**TOOL, **odd})
    async with sources.fetch(url, log=log) as checkout:
        with tarfile.open(checkout.bundle, "r:gz") as archive:
            members = {member.name: member for member in archive}
        assert set(members) == (set(TOOL) | set(odd)) - {"module"}
        assert members["run.sh"].mode == 0o755
        assert members["machete.yml"].mode == 0o644
        assert (members["inside"].issym(), members["inside"].linkname) == (True, "docs/../Dockerfile")
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members.values()} == {(0, 0, "", "", 1767225600)}
        assert content(checkout.bundle)["machete.yml"] == MANIFEST
    assert "The submodule module is left out." in log.lines


async def test_a_manifest_behind_a_link_is_read(publish: Publish, sources: GitSources, log: Lines) -> None:
    url = publish(
        files={"machete.yml": link("deploy/machete.yml"), "deploy/machete.yml": MANIFEST, "Dockerfile": DOCKERFILE}
    )
    async with sources.fetch(url, log=log) as checkout:
        assert checkout.manifest.name == "a-tool"


async def test_a_tool_without_a_manifest_takes_name_and_version_from_its_source(
    publish: Publish, sources: GitSources, log: Lines
) -> None:
    url = publish("My.Tool".lower(), files={"Dockerfile": DOCKERFILE})
    async with sources.fetch(url, log=log) as checkout:
        assert (checkout.manifest.name, checkout.manifest.version) == ("my-tool", checkout.commit[:12])


async def test_two_fetches_at_once_do_not_meet(publish: Publish, sources: GitSources, log: Lines, work: Path) -> None:
    first, second = publish("one", Dockerfile=b"FROM a\n"), publish("two", Dockerfile=b"FROM b\n")
    async with sources.fetch(first, log=log) as one, sources.fetch(second, log=log) as two:
        assert content(one.bundle)["Dockerfile"] == b"FROM a\n"
        assert content(two.bundle)["Dockerfile"] == b"FROM b\n"
        assert len(left_in(work)) == 2
    assert left_in(work) == []
