"""The first token: made once, kept in a file for its owner alone."""

import os
import re
import secrets
import stat
from pathlib import Path

NAME = "admin.token"
SHORTEST = 32


class BadToken(Exception):
    """The file cannot be used as it is; the text says why and what to do."""


def ensure(folder: Path) -> tuple[str, bool]:
    """The token, and whether it was made just now. Raises `BadToken` for a file that others may read, or a weak one.

    Of several gateways that start on one folder at once, one makes it and all use that.
    """
    path = folder / NAME
    made = False
    if not path.exists():
        made = _make(path)
    return read(path), made


def read(path: Path) -> str:
    """Raises `BadToken`, also where there is none."""
    try:
        with path.open() as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            token = file.read(4096).strip()
    except OSError as error:
        raise BadToken(f"{path} cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise BadToken(f"{path} may be used by others (mode {mode:04o}): it may be known; remove it to get a new one")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", token) or len(token) < SHORTEST:
        raise BadToken(
            f"{path} holds no token of at least {SHORTEST} letters, digits, - and _: remove it to get a new one"
        )
    return token


def _make(path: Path) -> bool:
    """Whole or not at all, and never readable by others, not even for a moment. False: somebody else was first."""
    draft = path.with_name(f".{NAME}.{secrets.token_hex(6)}")
    with open(draft, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(secrets.token_urlsafe(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True
