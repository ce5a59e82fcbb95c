"""The key with which the gateway signs who may connect: made at first start, kept in a file for its owner alone.

Its public part goes into the server's configuration; the seed is read by the gateway and by nobody else.
"""

import json
from pathlib import Path

from libs.runtime import private_files
from libs.runtime.nats_credentials import BadCredentials
from libs.runtime.nats_keys import Issuer, new_issuer

NAME = "issuer.json"


def ensure(path: Path) -> Issuer:
    """The key in this file, made if there is none. Raises `BadCredentials`."""
    if not path.exists():
        write(path, new_issuer())
    return read(path)


def write(path: Path, issuer: Issuer) -> bool:
    """False: there is one, which stays."""
    return private_files.make(path, json.dumps({"public": issuer.public, "seed": issuer.seed}, indent=2) + "\n")


def read(path: Path) -> Issuer:
    """Raises `BadCredentials` for a file that is missing, damaged, or may be read by others."""
    way_out = f"remove {path} and start again: a new one is made, and every agent needs new credentials"
    try:
        text, mode = private_files.read(path)
        if mode & 0o077:
            raise BadCredentials(f"{path} may be used by others: the key in it may be known; {way_out}")
        found = json.loads(text)
        return Issuer(str(found["public"]), str(found["seed"]))
    except OSError as error:
        raise BadCredentials(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadCredentials(f"{path} holds no key ({error!r}); {way_out}") from error
