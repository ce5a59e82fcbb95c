"""What Git's words mean: sentences for people, and a few signs for the program."""

import difflib
import re
from collections.abc import Collection, Sequence

from libs.contracts.source import GitUrl, shown
from services.installer.domain.failures import FetchFailed

_REF_LINE = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\s+refs/(?:heads|tags)/(\S+)")
_COMMIT = re.compile(r"[0-9a-f]{4,64}", re.IGNORECASE)
# A redirect may have led away from the address's own host.
_UNREACHED = re.compile(r"(?:could not resolve host:|failed to connect to) ([A-Za-z0-9.-]{1,253})", re.IGNORECASE)
_PROGRESS = re.compile(r"\s(\d{1,3})% \(")

# The first that matches counts. `{host}` is the address's host.
_MEANINGS: tuple[tuple[str, str, str], ...] = (
    (
        r"could not resolve proxy",
        "git_proxy_failed",
        "The proxy that leads to {host} is not known: check the proxy variables of the platform.",
    ),
    (
        r"could not resolve host|name or service not known|temporary failure in name resolution",
        "git_host_unknown",
        "The host {host} is not known: check the address, and the name resolution of this machine.",
    ),
    (
        r"host key verification failed",
        "git_host_key_unknown",
        "The SSH key of {host} is not known here: add it to the known hosts of MACHETE.",
    ),
    (
        r"(cannot run ssh|\bssh: not found|ssh: command not found)",
        "ssh_missing",
        "There is no program ssh on the machine that MACHETE runs on: install it (package openssh-client).",
    ),
    (
        r"no user exists for uid",
        "ssh_user_unknown",
        "MACHETE runs as a user whom the machine does not know, and ssh refuses that: give the user a name there.",
    ),
    (
        r"returned error: 30[12378]",
        "git_redirected",
        "{host} sends on to another address, which is not followed here: give that one (often it is the same with "
        ".git at its end).",
    ),
    (
        r"transport '[^']*' not allowed|protocol .*(not supported|disabled)",
        "git_protocol_not_allowed",
        "{host} sends on to an address over a protocol that is not allowed here: find out where the repository is now, "
        "and give that address.",
    ),
    (
        r"corruption|pack-objects died|bad object",
        "git_repository_damaged",
        "The repository on {host} is damaged: `git fsck` there says where.",
    ),
    (
        r"gnutls recv error|ssl_read",
        "git_connection_lost",
        "The connection to {host} broke off: try again.",
    ),
    (
        r"ssl|tls|certificate",
        "git_tls_failed",
        "The connection to {host} is not trusted: its certificate is wrong, expired or from an unknown authority "
        "(GIT_SSL_CAINFO names a file with more authorities).",
    ),
    (
        r"could not read (username|password)|authentication failed|permission denied \(|"
        r"invalid username or password|access denied|returned error: 40[13]",
        "git_access_denied",
        "{host} lets nobody in without a credential: the repository is private or does not exist "
        "(MACHETE_GIT_TOKENS may hold a token for it).",
    ),
    (
        r"is this a git repository|invalid (server )?response|protocol error|bad line length|not a git repo",
        "git_not_a_repository",
        "{host} answers, but not with a Git repository: give the address that `git clone` takes.",
    ),
    (
        r"repository .*not found|returned error: (404|410)|does not appear to be a git repository|"
        r"does not exist|no such file or directory",
        "git_repository_not_found",
        "{host} has no repository at this address, or shows it to nobody without a credential: check the address "
        "(MACHETE_GIT_TOKENS may hold a token for it).",
    ),
    (
        r"no space left on device|disk quota exceeded|out of diskspace",
        "disk_full",
        "The disk of the installer is full: free some space, then install again.",
    ),
    (
        r"mismatched algorithms|unknown object format|unsupported object format|object-format",
        "git_format_unsupported",
        "The repository uses SHA-256 object names, which are not read yet: give one that uses SHA-1.",
    ),
    (
        r"returned error: (429|5\d\d)",
        "git_server_failed",
        "{host} could not answer (an error of the server's): try again later.",
    ),
    (
        r"early eof|unexpected disconnect|rpc failed|hung up unexpectedly|connection reset|broken pipe|"
        r"unexpected eof|transfer closed|empty reply|connection closed by",
        "git_connection_lost",
        "The connection to {host} broke off: try again.",
    ),
    (
        r"connection refused|failed to connect|couldn't connect|timed out|no route to host|unreachable",
        "git_host_unreachable",
        "{host} does not answer: check the address and its port, and whether this machine may reach it.",
    ),
)

_UNREACHED_HERE = (
    "{host} does not answer: that is the machine, or the container, in which MACHETE's installer runs; check the port, "
    "or give an address at which the server is found from there."
)


def is_unknown_ref(lines: Sequence[str]) -> bool:
    signs = ("couldn't find remote ref", "unadvertised object", "not our ref", "no such remote ref")
    return any(sign in line for line in lines for sign in signs)


def is_dumb(lines: Sequence[str]) -> bool:
    """The server only has files, and cannot cut a history short."""
    return any("does not support shallow" in line for line in lines)


def may_be_commit(ref: str) -> bool:
    return _COMMIT.fullmatch(ref) is not None


def failure(lines: Sequence[str], url: GitUrl) -> FetchFailed:
    """Why Git ended badly. `lines` are its last ones, already masked; they go with it as detail."""
    # The address is a stranger's text: `https://host/ssl-tools` says nothing about a certificate.
    said = "\n".join(lines).replace(url.value.rstrip("/"), "")
    detail = {"log": list(lines)}
    elsewhere = _UNREACHED.search(said)
    host = (elsewhere[1] if elsewhere else url.host) or "This machine"
    for pattern, code, message in _MEANINGS:
        if re.search(pattern, said, re.IGNORECASE):
            here = code == "git_host_unreachable" and _is_loopback(host)
            return FetchFailed(code, (_UNREACHED_HERE if here else message).format(host=host), detail)
    last = next((line for line in reversed(lines) if line.startswith(("fatal:", "error:"))), "it gave no reason")
    return FetchFailed("git_failed", f"Git could not fetch the repository from {host}: {last[:300]}", detail)


def _is_loopback(host: str) -> bool:
    return re.fullmatch(r"(.+\.)?localhost|\[?::1\]?|127(\.\d{1,3}){3}", host, re.IGNORECASE) is not None


def token_refused(lines: Sequence[str], origin: str) -> FetchFailed:
    """`origin` is the server, like `https://git.example.org`."""
    return FetchFailed(
        "git_token_refused",
        f"{origin} does not take the token that MACHETE_GIT_TOKENS has for it, or it may not read this repository: "
        "see that it has not expired and may read the repository's contents.",
        {"log": list(lines)},
    )


def ref_name(line: str) -> str | None:
    """The branch or tag in a line of `git ls-remote`."""
    match = _REF_LINE.fullmatch(line.strip())
    return match[1] if match else None


def unknown_ref(ref: str | None, names: Collection[str]) -> FetchFailed:
    """`names` are the branches and tags that the repository has."""
    if not names:
        return FetchFailed("repository_empty", "The repository is empty: push a commit first.")
    near = difflib.get_close_matches(ref or "main", names, n=3)
    listed = list(dict.fromkeys([*near, *sorted(names)]))[:10]
    there = ", ".join(listed) + (f" and {len(names) - len(listed)} more" if len(names) > len(listed) else "")
    if ref is None:
        return FetchFailed(
            "git_ref_unknown", f"The repository's default branch does not exist; name a ref. There are: {there}."
        )
    return FetchFailed("git_ref_unknown", f"The repository has no {shown(ref)}. There are: {there}.")


def not_a_commit(ref: str | None) -> FetchFailed:
    return FetchFailed(
        "git_ref_not_a_commit", f"{shown(ref or 'HEAD')} stands for no commit: name a branch, tag or commit."
    )


def killed(signal: int) -> FetchFailed:
    return FetchFailed(
        "git_killed", f"Git was ended from outside (signal {signal}), perhaps for want of memory: try again."
    )


def percentage(line: str) -> int | None:
    """How far a line of progress says Git is; None for any other line, and for one that says it is done."""
    match = _PROGRESS.search(line)
    return int(match[1]) if match and not line.rstrip().endswith("done.") else None
