"""The passwords of the embedded server's users: made at first start, kept in a file for their owner alone."""

import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

from libs.runtime import private_files
from libs.runtime.nats_config import WeakPassword, check_password


class BadCredentials(RuntimeError):
    """The file of passwords cannot be used; the text says why and what to do."""


def ensure(path: Path, users: Iterable[str]) -> dict[str, str]:
    """A password for every one of `users`, those in the file as they are; the file is for its owner alone afterwards.

    Users no longer named are dropped. Raises `BadCredentials` for a file that is damaged or holds a weak one.
    """
    kept = _read(path)
    wanted = {user: kept.get(user) or secrets.token_urlsafe(32) for user in users}
    if wanted != kept or not private_files.is_private(path):
        write(path, wanted)
    return wanted


def _read(path: Path) -> dict[str, str]:
    way_out = f"remove {path} and start again: new passwords are made"
    try:
        kept = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise BadCredentials(f"{path} is no JSON ({error}); {way_out}") from error
    if not isinstance(kept, dict):
        raise BadCredentials(f"{path} does not map users to passwords; {way_out}")
    for user, password in cast(dict[str, object], kept).items():
        try:
            check_password(user, str(password))
        except WeakPassword as problem:
            raise BadCredentials(f"{path}: {problem}; {way_out}") from problem
    return cast(dict[str, str], kept)


def write(path: Path, passwords: Mapping[str, str]) -> None:
    """For their owner alone, in the place of what is there."""
    private_files.write(path, json.dumps(dict(passwords), indent=2) + "\n")
