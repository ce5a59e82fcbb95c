"""What Git said becomes a sentence with a code; the words are those Git really uses."""

import pytest

from libs.contracts.source import check_git_url
from services.installer.domain import git_says

URL = check_git_url("https://git.example.org/ssl-not-found/tls-certificate.git")
UNABLE = f"fatal: unable to access '{URL.value}/': "


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (UNABLE + "Could not resolve host: git.example.org", "git_host_unknown"),
        (UNABLE + "Could not resolve proxy: proxy", "git_proxy_failed"),
        ("ssh: Could not resolve hostname git.example.org: Name or service not known", "git_host_unknown"),
        (
            UNABLE + "Failed to connect to git.example.org port 443 after 1 ms: Couldn't connect to server",
            "git_host_unreachable",
        ),
        ("ssh: connect to host git.example.org port 22: Connection timed out", "git_host_unreachable"),
        (UNABLE + "server certificate verification failed. CAfile: none CRLfile: none", "git_tls_failed"),
        (UNABLE + "SSL certificate problem: self-signed certificate", "git_tls_failed"),
        (UNABLE + "gnutls_handshake() failed: The TLS connection was non-properly terminated.", "git_tls_failed"),
        (
            "fatal: could not read Username for 'https://x': terminal prompts disabled",
            "git_access_denied",
        ),
        (f"fatal: Authentication failed for '{URL.value}/'", "git_access_denied"),
        (UNABLE + "The requested URL returned error: 403", "git_access_denied"),
        ("git@git.example.org: Permission denied (publickey).", "git_access_denied"),
        ("Host key verification failed.", "git_host_key_unknown"),
        (f"fatal: repository '{URL.value}/' not found", "git_repository_not_found"),
        ("fatal: '/x' does not appear to be a git repository", "git_repository_not_found"),
        (f"fatal: {URL.value}/info/refs not valid: is this a git repository?", "git_not_a_repository"),
        (UNABLE + "The requested URL returned error: 502", "git_server_failed"),
        ("error: RPC failed; curl 18 transfer closed with outstanding read data remaining", "git_connection_lost"),
        ("fatal: early EOF", "git_connection_lost"),
        (UNABLE + "GnuTLS recv error (-110): The TLS connection was non-properly terminated.", "git_connection_lost"),
        ("remote: aborting due to possible repository corruption on the remote side.", "git_repository_damaged"),
        ("fatal: write error: No space left on device", "disk_full"),
        ("fatal: transport 'file' not allowed", "git_protocol_not_allowed"),
        ("fatal: mismatched algorithms: client sha1; server sha256", "git_format_unsupported"),
        ("fatal: something new", "git_failed"),
    ],
)
def test_each_word_of_git_has_one_meaning(said: str, code: str) -> None:
    failed = git_says.failure(["remote: something", said], URL)
    assert failed.code == code
    assert failed.detail == {"log": ["remote: something", said]}
    assert failed.message[0].isupper() or failed.message.startswith(URL.host)
    assert failed.message.endswith((".", "new"))


def test_a_ref_that_is_not_there_is_answered_with_those_that_are_the_nearest_first() -> None:
    names = [f"release-{number}" for number in range(30)] + ["main"]
    failed = git_says.unknown_ref("mian", names)
    assert failed.message.startswith('The repository has no "mian". There are: main, ')
    assert failed.message.endswith(" and 21 more.")
    assert git_says.unknown_ref(None, ["trunk"]).message.endswith("name a ref. There are: trunk.")
    assert git_says.unknown_ref("main", []).code == "repository_empty"


def test_progress_is_told_from_what_is_done() -> None:
    assert git_says.percentage("Receiving objects:  45% (9/20), 1 KiB") == 45
    assert git_says.percentage("Receiving objects: 100% (20/20), done.") is None
    assert git_says.percentage("fatal: 45% of nothing") is None
