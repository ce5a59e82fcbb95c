"""How Git is called: arguments, environment and configuration, as plain values.

Nothing of the machine's configuration counts, no hook runs, nothing asks, and only the allowed protocols
open, over redirects too.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from libs.contracts.source import GitUrl
from services.installer.domain import ssh_says

# What a machine may have to say about the way to the outside; all else of the environment stays out.
KEPT_VARIABLES = frozenset(
    {
        "PATH",
        "TZ",
        "GIT_SSL_CAINFO",
        "GIT_SSL_CAPATH",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "CURL_CA_BUNDLE",
        *(name for base in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for name in (base, base.upper())),
    }
)
BRANCHES_AND_TAGS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


def environment(inherited: Mapping[str, str], home: Path, protocols: Collection[str]) -> dict[str, str]:
    """The whole environment of a Git process; `home` is an empty folder of its own."""
    return {name: value for name, value in inherited.items() if name in KEPT_VARIABLES} | {
        "HOME": str(home),
        "TMPDIR": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": ":".join(sorted(protocols)),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_SSH_COMMAND": ssh_says.COMMAND,
        "GIT_SSH_VARIANT": "ssh",
    }


def configuration(protocols: Collection[str]) -> str:
    """The config file of the bare repository that a fetch goes into; it is thrown away after."""
    sections: dict[str, dict[str, str]] = {
        "core": {
            "repositoryFormatVersion": "0",
            "bare": "true",
            "hooksPath": "/dev/null",
            "askPass": "",
            "fsync": "none",
        },
        "credential": {"helper": ""},
        "gc": {"auto": "0"},
        "maintenance": {"auto": "false"},
        "fetch": {"unpackLimit": "1"},
        "http": {"followRedirects": "initial"},
        "protocol": {"allow": "never"},
        **{f'protocol "{protocol}"': {"allow": "always"} for protocol in sorted(protocols)},
    }
    return "".join(
        f"[{section}]\n" + "".join(f"\t{key} = {value}\n" for key, value in values.items())
        for section, values in sections.items()
    )


def fetch(repository: Path, url: GitUrl, *refs: str, depth: int | None) -> list[str]:
    """`refs` are refspecs; with `depth`, so many commits of each."""
    shallow = [f"--depth={depth}"] if depth is not None else []
    options = ["--progress", "--no-tags", "--no-recurse-submodules", *shallow]
    return [*_git(repository), "fetch", *options, "--", url.value, *refs]


def list_refs(repository: Path, url: GitUrl) -> list[str]:
    return [*_git(repository), "ls-remote", "--heads", "--tags", "--refs", "--", url.value]


def _git(repository: Path) -> list[str]:
    return ["git", f"--git-dir={repository}"]
