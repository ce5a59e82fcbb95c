"""Refs and folders that are not there, and files of a repository that no tool can be made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.githost import git
from tests.e2e.bad_input.addresses import each
from tests.e2e.bad_input.bench import Bench
from tests.e2e.bad_input.case import Came, Case, Provoke
from tests.support.git_repos import Odd, link
from tests.support.platform_checks import fresh
from tests.support.platform_tools import web


def files(changed: Mapping[str, bytes | Odd | None], **body: Any) -> Provoke:
    """A good tool but for these files; None takes one away."""
    content = {path: entry for path, entry in {**web(), **changed}.items() if entry is not None}
    return lambda bench: bench.installs(content, **body)


def manifest(text: str | bytes) -> Provoke:
    return files({"machete.yml": text.encode() if isinstance(text, str) else text})


def machete(line: str) -> Provoke:
    return manifest(f"version: 1.0.0\nmachete:\n  {line}\n")


async def no_commit(bench: Bench) -> Came:
    name = fresh("blob")
    url = bench.publish(web(), name)
    at = f"--git-dir={bench.platform.forge.repository(name)}"
    git(at, "tag", "blob", git(at, "rev-parse", "main:Dockerfile"))
    return await bench.installs(url, ref="blob")


BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
)

REFUSED_PLACES = (
    Case(
        "ref-hostile",
        "a ref such as `main;curl`, `--upload-pack=x`, or one with a quote or a line end",
        each("ref", "main;curl", "--upload-pack=x", "a\nb", "a'b", 'a"b', "a..b", "", "$(id)", "a" * 300),
    ),
    Case(
        "subdir-hostile", "a folder such as `../x` or `/etc`", each("subdir", "../x", "/etc", "a/../../x", "-x", ".git")
    ),
)
REFS = (
    Case("ref-unknown", "a branch or tag that is not there", lambda bench: bench.installs(web(), ref="v9")),
    Case("commit-unknown", "a commit that is not there", lambda bench: bench.installs(web(), ref="deadbee")),
    Case("ref-no-commit", "a tag that stands for a file", no_commit),
    Case("subdir-missing", "a folder that is not there", lambda bench: bench.installs(web(), subdir="tools/mine")),
    Case("link-leads-out", "a repository with a link to `/etc/passwd`", files({"link": link("/etc/passwd")})),
)
MANIFESTS = (
    Case(
        "nothing-to-run", "a repository with nothing that says how to run it", lambda bench: bench.installs({"a": b"b"})
    ),
    Case("manifest-broken", "a manifest that is no YAML", manifest("name: [a\nmachete: {port: 80}\n")),
    Case("manifest-tab", "a manifest indented with tabs", manifest("machete:\n\tport: 80\n")),
    Case("manifest-empty", "an empty manifest", manifest("")),
    Case("manifest-list", "a manifest that is a list", manifest("- name: a\n")),
    Case("manifest-types", "a port that is a word", machete("port: eighty")),
    Case(
        "manifest-several", "three wrong values at once", manifest("name: ''\nmachete:\n  port: 0\n  category: fun\n")
    ),
    Case("manifest-port", "a port that does not exist", machete("port: 70000")),
    Case("manifest-health", "a health check that is no path", machete("health_check: health")),
    Case("manifest-version", "a tool for a later MACHETE", machete('version: ">=99.0"')),
    Case("manifest-range", "a version that is none", machete('version: "newest"')),
    Case("manifest-volume", "a volume that is none", machete('volumes: ["data"]')),
    Case("manifest-volume-out", "a volume `../..:/x`", machete('volumes: ["../..:/x"]')),
    Case("manifest-volume-host", "a volume `/etc:/x`", machete('volumes: ["/etc:/x"]')),
    Case("manifest-memory", "memory that is no amount", manifest("resources: {memory: much}\n")),
    Case("manifest-duplicate", "a key that stands twice", manifest("name: a\nversion: 1.0.0\nname: b\n")),
    Case("manifest-encoding", "a manifest that is not UTF-8", manifest(b"name: caf\xe9\n")),
    Case("manifest-bomb", "a manifest whose aliases multiply", manifest(BOMB)),
    Case("manifest-large", "a manifest of 200 KiB", manifest("# " + "a" * 200_000)),
    Case("tool-json-broken", "a `tool.json` that is no JSON", files({"machete.yml": None, "tool.json": b'{"name": }'})),
    Case("dockerfile-missing", "a manifest without a Dockerfile", files({"Dockerfile": None})),
    Case("dockerfile-named", "a Dockerfile that is named and not there", machete("dockerfile: docker/Dockerfile")),
    Case("compose-named", "a Compose file that is named and not there", machete("compose: deploy/compose.yml")),
)
