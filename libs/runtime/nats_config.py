"""The embedded server's configuration, as a pure function of what it depends on.

JSON, which the server reads as well as its own format: so every value is quoted by one known rule.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from libs.contracts.permissions import Permissions

GIB = 1024**3
MOST_STORED = 10 * GIB
MEMORY_STORE = 64 * 1024 * 1024
# What nobody types by hand and no list of common passwords holds: 32 characters as `secrets` makes them.
STRONG = re.compile(r"[A-Za-z0-9_-]{32,}")
DIFFERENT_CHARACTERS = 12


class WeakPassword(ValueError):
    """A password that a person chose, or that somebody could guess."""


@dataclass(frozen=True)
class NatsUser:
    password: str
    permissions: Permissions


@dataclass(frozen=True)
class ServerSettings:
    """`max_file_store` and `max_payload` are bytes. The port is on loopback; the folder is the server's own."""

    server_name: str
    port: int
    folder: Path
    max_file_store: int
    users: Mapping[str, NatsUser]
    max_payload: int = 1024 * 1024


def render(settings: ServerSettings) -> str:
    """Raises `WeakPassword`, and ValueError where no user could log in at all."""
    if not settings.users:
        raise ValueError("a NATS server without users would let everybody do everything: name at least one")
    for name, user in settings.users.items():
        check_password(name, user.password)
    return json.dumps(_document(settings), indent=2, ensure_ascii=False) + "\n"


def _document(settings: ServerSettings) -> dict[str, object]:
    # The account's limits say the same as the server's: they are what a client can read.
    account = {
        "jetstream": {"max_file": settings.max_file_store, "max_memory": MEMORY_STORE},
        "users": [_user(name, user) for name, user in settings.users.items()],
    }
    return {
        "server_name": settings.server_name,
        "host": "127.0.0.1",
        "port": settings.port,
        "max_payload": settings.max_payload,
        "log_file": str(settings.folder / "server.log"),
        "logfile_size_limit": 4 * 1024 * 1024,
        "logfile_max_num": 3,
        "jetstream": {
            "store_dir": str(settings.folder / "jetstream"),
            "sync_interval": "always",
            "max_file_store": settings.max_file_store,
            "max_memory_store": MEMORY_STORE,
        },
        "accounts": {"MACHETE": account},
    }


def _user(name: str, user: NatsUser) -> dict[str, object]:
    permissions: dict[str, object] = {
        "publish": _only(user.permissions.publish),
        "subscribe": _only(user.permissions.subscribe),
    }
    if user.permissions.responds:
        permissions["allow_responses"] = True
    return {"user": name, "password": user.password, "permissions": permissions}


def _only(subjects: Sequence[str]) -> dict[str, list[str]]:
    """An empty list of what is allowed would be no restriction at all."""
    return {"allow": list(subjects)} if subjects else {"deny": [">"]}


def check_password(user: str, password: str) -> None:
    """Raises `WeakPassword` for one that is short, repetitive, or not made by a machine."""
    if not STRONG.fullmatch(password) or len(set(password)) < DIFFERENT_CHARACTERS:
        raise WeakPassword(
            f"the password of the NATS user {user!r} is too weak: it must be random, at least 32 characters of "
            "A-Z, a-z, 0-9, - and _"
        )


def storage_limit(free: int, used: int, before: int) -> int:
    """Bytes that streams may take: below what the disk has, so that the server is full before the disk is.

    Never less than `before`: a 2.10 server starts without the streams that no longer fit, as if they had never
    been (measured).
    """
    return max(before, min(MOST_STORED, (free + used) * 8 // 10))


def storage_limit_of(document: str) -> int:
    """What `render` wrote as the limit; raises ValueError for a text it did not write."""
    try:
        return int(json.loads(document)["jetstream"]["max_file_store"])
    except (KeyError, TypeError) as error:
        raise ValueError("jetstream.max_file_store is not in it") from error
