"""The token that reads metrics and nothing else: in a file, so that Prometheus is answered when nobody else can tell.

Whoever asks about NATS being away must not need NATS to be let in, nor an administrator's token in a config file.
"""

import re
import secrets
from pathlib import Path

from libs.runtime import private_files
from libs.runtime.variables import SettingsError

NAME = "metrics.token"
SHORTEST = 32


def ensure(folder: Path) -> str:
    """The token in `<folder>/metrics.token`, made if there is none; of several processes one makes it, all use it.

    A group may read it, so that Prometheus can. Raises `SettingsError` for a file that cannot be used.
    """
    path = folder / NAME
    try:
        if not path.exists():
            private_files.make(path, secrets.token_urlsafe(32) + "\n")
        text, mode = private_files.read(path)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read or made: {error.strerror}") from error
    if mode & 0o007:
        raise SettingsError(f"{path} may be read by everybody (mode {mode:04o}): `chmod o=` it, or remove it")
    token = text.strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]+", token) or len(token) < SHORTEST:
        raise SettingsError(f"{path} needs at least {SHORTEST} letters, digits, - and _: remove it to get a new one")
    return token
