"""Which platform is meant, and with which token: what is said outright, else the one that runs on this machine."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from clients.cli.exits import UNREACHABLE, USAGE, Ending
from libs.runtime.datalock import Holder, holder_of
from libs.runtime.variables import default_data
from services.gateway.adapters import token_file

LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Place:
    url: str
    token: str


def data_folder() -> Path:
    chosen = os.environ.get("MACHETE_DATA", "")
    return Path(chosen).expanduser().absolute() if chosen else default_data()


def held_by(folder: Path) -> Holder | None:
    """Who holds this folder now. Raises `Ending` if it may not be looked into."""
    try:
        return holder_of(folder)
    except NotADirectoryError:
        return None
    except PermissionError:
        raise Ending(USAGE, f"{folder} belongs to another user: name yours with MACHETE_DATA", "not_yours") from None


def named_url() -> str | None:
    """What MACHETE_URL says; None where it says nothing."""
    return os.environ.get("MACHETE_URL", "").rstrip("/") or None


def local_url() -> str | None:
    """Where the platform on this machine says that it answers; None if none runs."""
    holder = held_by(data_folder())
    return holder.url or None if holder is not None else None


def find() -> Place:
    """Raises `Ending`. The token of this machine's platform is never shown to another machine."""
    url = named_url() or local_url()
    if url is None:
        raise Ending(
            UNREACHABLE,
            f"no platform runs on {data_folder()}: start one with `machete up`, or name another one with MACHETE_URL "
            "(or its folder with MACHETE_DATA)",
            "no_platform",
        )
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Ending(USAGE, "MACHETE_URL is an address like http://127.0.0.1:8080", "usage")
    return Place(url, os.environ.get("MACHETE_TOKEN", "") or _local_token(parts.hostname))


def _local_token(host: str) -> str:
    if host not in LOCAL:
        raise Ending(USAGE, "MACHETE_URL is on another machine: give its token in MACHETE_TOKEN", "no_token")
    path = data_folder() / token_file.NAME
    try:
        return token_file.read(path)
    except token_file.BadToken as problem:
        raise Ending(USAGE, f"{problem}; or give the token in MACHETE_TOKEN", "no_token") from None
