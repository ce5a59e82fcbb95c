"""The key with which the gateway signs who may connect: made at first start, kept in a file for its owner alone.

Its public part goes into the server's configuration; the seed is read by the gateway and by nobody else.
"""

import json
from pathlib import Path

from libs.runtime.nats_credentials import BadCredentials, write_for_owner
from libs.runtime.nats_keys import Issuer, new_issuer

NAME = "issuer.json"


def ensure(path: Path) -> Issuer:
    """The key in this file, made if there is none. Raises `BadCredentials`."""
    if not path.exists():
        made = new_issuer()
        write_for_owner(path, {"public": made.public, "seed": made.seed})
    return read(path)


def read(path: Path) -> Issuer:
    """Raises `BadCredentials` for a file that is missing, damaged, or may be read by others."""
    way_out = f"remove {path} and start again: a new one is made, and every agent needs new credentials"
    try:
        if path.stat().st_mode & 0o077:
            raise BadCredentials(f"{path} may be used by others: the key in it may be known; {way_out}")
        found = json.loads(path.read_text())
        return Issuer(str(found["public"]), str(found["seed"]))
    except OSError as error:
        raise BadCredentials(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadCredentials(f"{path} holds no key ({error!r}); {way_out}") from error
