"""The embedded server's configuration, as a pure function of what it depends on.

JSON, which the server reads as well as its own format: so every value is quoted by one known rule.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from libs.contracts.permissions import Permissions
from libs.runtime.nats_keys import user_form

MACHETE: Literal["MACHETE"] = "MACHETE"
SYSTEM: Literal["SYSTEM"] = "SYSTEM"
ROUTE = "route"
GIB = 1024**3
MOST_STORED = 10 * GIB
# Bytes that may be on their way to one client before it is cut off as too slow. Of the many who read logs, all through
# the connection of the status service, each has about half a MiB on its way at most.
MAX_PENDING = 256 * 1024 * 1024
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
class Cluster:
    """A server's place among others that keep the same streams. `routes` are `host:port` of all, itself too.

    Whoever knows the password is a server of the cluster, and may do everything.
    """

    name: str
    port: int
    routes: Sequence[str]
    password: str


@dataclass(frozen=True)
class ServerSettings:
    """`max_file_store` and `max_payload` are bytes. The port is on loopback; the folder is the server's own.

    `issuer` is the public key with which the gateway signs who may connect besides `users`; without one, nobody may.
    `health_port`, on loopback too, answers `/healthz`.
    """

    server_name: str
    port: int
    folder: Path
    max_file_store: int
    users: Mapping[str, NatsUser]
    max_payload: int = 1024 * 1024
    issuer: str | None = None
    cluster: Cluster | None = None
    health_port: int | None = None


def render(settings: ServerSettings) -> str:
    """Raises `WeakPassword`, and ValueError where no user could log in at all."""
    if not settings.users:
        raise ValueError("a NATS server without users would let everybody do everything: name at least one")
    for name, user in settings.users.items():
        check_password(name, user.password)
    return json.dumps(_document(settings), indent=2, ensure_ascii=False) + "\n"


def _document(settings: ServerSettings) -> dict[str, object]:
    return {
        "server_name": settings.server_name,
        "host": "127.0.0.1",
        "port": settings.port,
        "max_payload": settings.max_payload,
        "max_pending": MAX_PENDING,
        "log_file": str(settings.folder / "server.log"),
        "logfile_size_limit": 4 * 1024 * 1024,
        "logfile_max_num": 3,
        "jetstream": {
            "store_dir": str(settings.folder / "jetstream"),
            "sync_interval": "always",
            "max_file_store": settings.max_file_store,
            "max_memory_store": MEMORY_STORE,
        },
        "accounts": _accounts(settings),
        **({"system_account": SYSTEM} if _has_system(settings) else {}),
        **({} if settings.health_port is None else {"http": f"127.0.0.1:{settings.health_port}"}),
        **({} if settings.cluster is None else {"cluster": _cluster(settings.cluster)}),
        **({} if settings.issuer is None else {"authorization": _callout(settings.issuer, settings.users)}),
    }


def _cluster(cluster: Cluster) -> dict[str, object]:
    check_password(ROUTE, cluster.password)
    return {
        "name": cluster.name,
        "host": "127.0.0.1",
        "port": cluster.port,
        "authorization": {"user": ROUTE, "password": cluster.password, "timeout": 5},
        "routes": [f"nats-route://{ROUTE}:{cluster.password}@{each}" for each in cluster.routes],
        # Clients are told all addresses by their settings; those that servers know of each other lead nowhere outside.
        "no_advertise": True,
    }


def _has_system(settings: ServerSettings) -> bool:
    return any(user.permissions.account == SYSTEM for user in settings.users.values())


def _accounts(settings: ServerSettings) -> dict[str, object]:
    def users(account: str) -> list[dict[str, object]]:
        return [_user(name, each) for name, each in settings.users.items() if each.permissions.account == account]

    # The account's limits say the same as the server's: they are what a client can read. Each copy counts.
    copies = 1 if settings.cluster is None else len(settings.cluster.routes)
    limits = {"max_file": copies * settings.max_file_store, "max_memory": copies * MEMORY_STORE}
    doors = [] if settings.issuer is None else [_nonce_maker(settings.issuer)]
    accounts: dict[str, object] = {MACHETE: {"jetstream": limits, "users": [*users(MACHETE), *doors]}}
    if _has_system(settings):
        accounts[SYSTEM] = {"users": users(SYSTEM)}
    return accounts


def _callout(issuer: str, users: Iterable[str]) -> dict[str, object]:
    """Everybody but the users above is asked about at the gateway, which is connected to the same account."""
    return {"auth_callout": {"issuer": issuer, "account": MACHETE, "auth_users": list(users)}}


def _nonce_maker(issuer: str) -> dict[str, object]:
    """A server shows what is to be signed only if it knows of a user with a key. This one is nobody: it is asked about
    like all others, and no account of an agent has the key of the issuer."""
    nobody: dict[str, object] = {"publish": only(()), "subscribe": only(())}
    return {"nkey": user_form(issuer), "permissions": nobody}


def _user(name: str, user: NatsUser) -> dict[str, object]:
    permissions: dict[str, object] = {
        "publish": only(user.permissions.publish),
        "subscribe": only(user.permissions.subscribe),
    }
    if user.permissions.responds:
        permissions["allow_responses"] = True
    return {"user": name, "password": user.password, "permissions": permissions}


def only(subjects: Sequence[str]) -> dict[str, list[str]]:
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
