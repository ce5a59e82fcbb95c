"""What Git said becomes a sentence with a code; the words are those Git really uses."""

from pathlib import Path

import pytest

from libs.contracts.source import check_git_url
from services.installer.domain import git_says, ssh_says

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
        ("fatal: sha1 file 'objects/pack/tmp_idx_x' write error. Out of diskspace", "disk_full"),
        ("fatal: transport 'file' not allowed", "git_protocol_not_allowed"),
        ("fatal: mismatched algorithms: client sha1; server sha256", "git_format_unsupported"),
        ("error: cannot run ssh: No such file or directory", "ssh_missing"),
        ("sh: 1: ssh: not found", "ssh_missing"),
        ("No user exists for uid 4711", "ssh_user_unknown"),
        (UNABLE + "The requested URL returned error: 301", "git_redirected"),
        ("kex_exchange_identification: Connection closed by remote host", "git_connection_lost"),
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


@pytest.mark.parametrize(
    ("url", "scan", "name"),
    [
        ("git@git.example.org:team/tool.git", "ssh-keyscan git.example.org >> /data/known_hosts", "git.example.org"),
        ("ssh://git@h:22/x", "ssh-keyscan h >> /data/known_hosts", "h"),
        ("ssh://git@h:2222/x", "ssh-keyscan -p 2222 h >> /data/known_hosts", "'[h]:2222'"),
        ("ssh://git@[::1]:2222/x", "ssh-keyscan -p 2222 ::1 >> /data/known_hosts", "'[::1]:2222'"),
    ],
)
def test_the_commands_for_a_hosts_key_can_be_pasted(url: str, scan: str, name: str) -> None:
    checked = check_git_url(url)
    unknown = ssh_says.host_key_failure(["Host key verification failed."], checked, Path("/data/known_hosts"))
    assert f"`{scan}`" in unknown.message
    said = ["@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "Host key verification failed."]
    changed = ssh_says.host_key_failure(said, checked, Path("/data/known_hosts"))
    assert f"`ssh-keygen -f /data/known_hosts -R {name}` and then `{scan}`" in changed.message


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ('Load key "/k": incorrect passphrase supplied to decrypt private key', "ssh_key_locked"),
        ("Permissions 0644 for '/k' are too open.", "ssh_key_permissions"),
        ("/k: No such file or directory", "ssh_key_missing"),
        ('Load key "/k": Permission denied', "ssh_key_unreadable"),
        ('Load key "/k": error in libcrypto', "ssh_key_invalid"),
    ],
)
def test_what_is_wrong_with_a_key_is_one_sentence_that_names_it(said: str, code: str) -> None:
    failed = ssh_says.key_fault(said, URL, Path("/a folder/k"))
    assert failed.code == code
    assert "'/a folder/k'" in failed.message
    assert failed.message.endswith(".")


def test_progress_is_told_from_what_is_done() -> None:
    assert git_says.percentage("Receiving objects:  45% (9/20), 1 KiB") == 45
    assert git_says.percentage("Receiving objects: 100% (20/20), done.") is None
    assert git_says.percentage("fatal: 45% of nothing") is None


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("http://127.0.0.1:8000/x", True),
        ("http://localhost/x", True),
        ("ssh://git@[::1]:22/x", True),
        ("https://git.example.org/x", False),
        ("https://127.example.org/x", False),
        ("http://10.0.0.7/x", False),
    ],
)
def test_an_address_of_loopback_is_told_to_be_the_installers_own(address: str, here: bool) -> None:
    url = check_git_url(address, ("http", "https", "ssh"))
    failed = git_says.failure(["fatal: unable to access: Connection refused"], url)
    assert failed.code == "git_host_unreachable"
    assert ("installer runs" in failed.message) is here
