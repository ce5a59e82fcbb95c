"""The first token: made once, kept in a file for its owner alone."""

import re
import secrets
from pathlib import Path

from libs.runtime import private_files

NAME = "admin.token"
SHORTEST = 32


class BadToken(Exception):
    """The file cannot be used as it is; the text says why and what to do."""


def ensure(folder: Path) -> tuple[str, bool]:
    """The token, and whether it was made just now. Raises `BadToken` for a file that others may read, or a weak one.

    Of several gateways that start on one folder at once, one makes it and all use that.
    """
    path = folder / NAME
    made = not path.exists() and private_files.make(path, secrets.token_urlsafe(32) + "\n")
    return read(path), made


def read(path: Path) -> str:
    """Raises `BadToken`, also where there is none."""
    try:
        text, mode = private_files.read(path)
    except OSError as error:
        raise BadToken(f"{path} cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise BadToken(f"{path} may be used by others (mode {mode:04o}): it may be known; remove it to get a new one")
    token = text.strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]+", token) or len(token) < SHORTEST:
        raise BadToken(
            f"{path} holds no token of at least {SHORTEST} letters, digits, - and _: remove it to get a new one"
        )
    return token
