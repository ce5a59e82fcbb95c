"""What ssh's words mean, and how it is called: our key and our known hosts, nothing of the machine's."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from libs.contracts.source import GitUrl
from services.installer.domain.failures import FetchFailed

# Seen from the repository, in which Git runs: so no path of the platform becomes part of a command.
FOLDER = "ssh"
KEY = "key"
KNOWN_HOSTS = "known_hosts"
OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "GlobalKnownHostsFile=none",
    f"UserKnownHostsFile=../{FOLDER}/{KNOWN_HOSTS}",
    "UpdateHostKeys=no",
    "IdentitiesOnly=yes",
    f"IdentityFile=../{FOLDER}/{KEY}",
    "IdentityAgent=none",
    "PreferredAuthentications=publickey",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ConnectTimeout=20",
    "ServerAliveInterval=15",
)
# Git hands this to a shell. It is the same for every fetch, so nothing of an address can become part of it.
COMMAND = " ".join(["ssh", "-F", "none", *(f"-o {option}" for option in OPTIONS)])

# What `ssh-keygen` says of a key that it cannot use.
_KEY_FAULTS: tuple[tuple[str, str, str], ...] = (
    (
        r"incorrect passphrase",
        "ssh_key_locked",
        "The SSH key {key} has a passphrase, which nobody is there to type: take it off (`ssh-keygen -p -f {key}`) "
        "or make a key for MACHETE alone.",
    ),
    (
        r"too open|bad permissions",
        "ssh_key_permissions",
        "The SSH key {key} may be read by others, so ssh does not use it: `chmod 600 {key}`.",
    ),
    (
        r"no such file|not a directory",
        "ssh_key_missing",
        "{host} asks for an SSH key, and there is none at {key}: make one with `ssh-keygen -t ed25519 -N '' -f {key}` "
        "and add its public half to the repository as a deploy key.",
    ),
    (
        r"permission denied",
        "ssh_key_unreadable",
        "The SSH key {key} cannot be read: give it to the user that MACHETE runs as.",
    ),
)


def read_key(key: Path) -> list[str]:
    """Asks for the public half of a key, without a passphrase."""
    return ["ssh-keygen", "-y", "-P", "", "-f", str(key)]


def read_fingerprint(key: Path) -> list[str]:
    return ["ssh-keygen", "-l", "-f", str(key)]


def host_key_failure(lines: Sequence[str], url: GitUrl, known_hosts: Path) -> FetchFailed:
    """`known_hosts` is the file in which the host's key should stand."""
    said = "\n".join(lines)
    host, port = server_of(url)
    file = shlex.quote(str(known_hosts))
    name = f"[{host}]:{port}" if port != 22 else host
    scan = f"`ssh-keyscan {f'-p {port} ' if port != 22 else ''}{host} >> {file}`"
    detail = {"log": list(lines)}
    if re.search(r"identification has changed|was revoked", said, re.IGNORECASE):
        return FetchFailed(
            "git_host_key_changed",
            f"{host} shows another SSH key than the one in {known_hosts}: it was set up anew, or somebody stands in "
            f"between. Ask whoever runs it; if all is well, `ssh-keygen -f {file} -R {shlex.quote(name)}` and then "
            f"{scan}.",
            detail,
        )
    return FetchFailed(
        "git_host_key_unknown",
        f"The SSH key of {host} is not known here: add it with {scan}, and compare it with what the host's owner "
        "publishes.",
        detail,
    )


def key_fault(said: str, url: GitUrl, key: Path) -> FetchFailed:
    """Why a key is no use; `said` is what `ssh-keygen` said of it."""
    quoted = shlex.quote(str(key))
    for pattern, code, message in _KEY_FAULTS:
        if re.search(pattern, said, re.IGNORECASE):
            return FetchFailed(code, message.format(key=quoted, host=url.host))
    return FetchFailed("ssh_key_invalid", f"{quoted} is no private key that ssh can read: make one with `ssh-keygen`.")


def key_refused(lines: Sequence[str], url: GitUrl, key: Path, fingerprint: str, public: str) -> FetchFailed:
    """`fingerprint` is `SHA256:…`, `public` the line that a host wants to have."""
    return FetchFailed(
        "git_key_refused",
        f"{url.host} does not let in the SSH key {fingerprint}: add its public half to the repository as a deploy "
        f"key (`ssh-keygen -y -f {shlex.quote(str(key))}` prints it).",
        {"log": list(lines), "public_key": public},
    )


def fingerprint_in(said: str) -> str | None:
    """In what `ssh-keygen -l` said."""
    match = re.search(r"\bSHA256:[A-Za-z0-9+/]{43}", said)
    return match[0] if match else None


def server_of(url: GitUrl) -> tuple[str, int]:
    """Host, without the brackets of an IPv6 address, and port."""
    port = urlsplit(url.value).port if "://" in url.value else None
    return url.host.strip("[]"), port or 22
