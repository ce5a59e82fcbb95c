"""Git is called with exactly these words, and nothing of this machine's or platform's gets to it."""

from pathlib import Path

from libs.contracts.source import check_git_url
from services.installer.domain import git_call

REPOSITORY = Path("/srv/repository")
URL = check_git_url("https://git.example.org/team/tool.git")


def test_a_fetch_brings_one_commit_and_ends_options_before_the_address() -> None:
    assert git_call.fetch(REPOSITORY, URL, "v1.0", depth=1) == [
        "git",
        "--git-dir=/srv/repository",
        "fetch",
        "--progress",
        "--no-tags",
        "--no-recurse-submodules",
        "--depth=1",
        "--",
        "https://git.example.org/team/tool.git",
        "v1.0",
    ]


def test_a_whole_history_is_branches_and_tags() -> None:
    argv = git_call.fetch(REPOSITORY, URL, *git_call.BRANCHES_AND_TAGS, depth=None)
    assert argv[6:] == ["--", URL.value, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]


def test_the_refs_are_asked_for_without_a_fetch() -> None:
    words = ["ls-remote", "--heads", "--tags", "--refs", "--", URL.value]
    assert git_call.list_refs(REPOSITORY, URL) == ["git", "--git-dir=/srv/repository", *words]


def test_only_the_way_outside_is_inherited() -> None:
    inherited = {
        "PATH": "/bin",
        "https_proxy": "http://proxy:3128",
        "NO_PROXY": "localhost",
        "GIT_SSL_CAINFO": "/ca.pem",
        "SSL_CERT_FILE": "/ca.pem",
        "HOME": "/root",
        "MACHETE_TOKEN": "s3cret",
        "GIT_DIR": "/elsewhere",
        "GIT_CONFIG_COUNT": "1",
        "GIT_PROXY_COMMAND": "id",
        "LD_PRELOAD": "/evil.so",
        "SSH_AUTH_SOCK": "/agent",
    }
    made = git_call.environment(inherited, Path("/srv/home"), ["ssh", "https"])
    assert made == {
        "PATH": "/bin",
        "https_proxy": "http://proxy:3128",
        "NO_PROXY": "localhost",
        "GIT_SSL_CAINFO": "/ca.pem",
        "SSL_CERT_FILE": "/ca.pem",
        "HOME": "/srv/home",
        "TMPDIR": "/srv/home",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": "https:ssh",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_SSH_COMMAND": "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o GlobalKnownHostsFile=none"
        " -o UserKnownHostsFile=../ssh/known_hosts -o UpdateHostKeys=no -o IdentitiesOnly=yes"
        " -o IdentityFile=../ssh/key -o IdentityAgent=none -o PreferredAuthentications=publickey"
        " -o ClearAllForwardings=yes -o ForwardAgent=no -o ConnectTimeout=20 -o ServerAliveInterval=15",
        "GIT_SSH_VARIANT": "ssh",
    }


def test_the_repository_runs_no_hook_and_opens_only_what_is_allowed() -> None:
    lines = git_call.configuration(["https"]).splitlines()
    assert "\thooksPath = /dev/null" in lines
    assert lines[lines.index("[protocol]") :] == [
        "[protocol]",
        "\tallow = never",
        '[protocol "https"]',
        "\tallow = always",
    ]
    assert lines[lines.index("[credential]") + 1] == "\thelper = "
