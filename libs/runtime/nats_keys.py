"""Keys as NATS writes them (Ed25519, base32 with a prefix and a checksum), and the tokens signed with them.

What signs is imported when something is signed: most platforms have no agent, and all of them start.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

_ACCOUNT, _USER, _SEED = 0, 20 << 3, 18 << 3
_PUBLIC = re.compile(r"[ANU][A-Z2-7]{55}")
_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}


class BadToken(ValueError):
    """A token or a signature that is not what it claims to be."""


@dataclass(frozen=True)
class Issuer:
    """`public` begins with A, the seed with SA."""

    public: str
    seed: str = field(repr=False)


@dataclass(frozen=True)
class UserKey:
    """`public` begins with U, the seed with SU."""

    public: str
    seed: str = field(repr=False)


def issuer_of(seed: str) -> Issuer:
    """Raises ValueError for a text that is no seed of an account."""
    try:
        public = _public(_opened(_ACCOUNT, seed))
    except ValueError as error:
        raise ValueError("a key to sign with is the seed of an account: 58 characters that begin with SA") from error
    return Issuer(_written(bytes([_ACCOUNT]), public), seed)


def new_issuer() -> Issuer:
    return Issuer(*_new(_ACCOUNT))


def new_user() -> UserKey:
    return UserKey(*_new(_USER))


def user_form(public: str) -> str:
    """The same key, written as that of a user."""
    return _written(bytes([_USER]), base64.b32decode(public)[1:-2])


def token(issuer: Issuer, claims: Mapping[str, Any]) -> str:
    """A JWT with these claims, signed; `iss`, `iat` and `jti` are added."""
    from nacl.signing import SigningKey

    whole = {**claims, "iss": issuer.public, "iat": int(time.time())}
    whole["jti"] = _word(hashlib.sha256(json.dumps(whole, sort_keys=True).encode() + secrets.token_bytes(8)).digest())
    signed = f"{_part(_HEADER)}.{_part(whole)}"
    return f"{signed}.{_base64(SigningKey(_opened(_ACCOUNT, issuer.seed)).sign(signed.encode()).signature)}"


def claims_of(text: str, *, issuer: str | None = None) -> dict[str, Any]:
    """What a token says, if `issuer` (whoever it names, without one) signed it. Raises `BadToken`."""
    try:
        header, claims, signature = text.strip().split(".")
        said: object = json.loads(_bytes(claims))
        algorithm: object = json.loads(_bytes(header)).get("alg")
    except (ValueError, AttributeError, RecursionError) as error:
        raise BadToken("this is no token of NATS") from error
    if not isinstance(said, dict) or algorithm != _HEADER["alg"]:
        raise BadToken("this is no token of NATS")
    found = cast(dict[str, Any], said)
    by = str(found.get("iss", ""))
    if issuer is not None and by != issuer:
        raise BadToken("the token was issued elsewhere")
    check_signature(by, f"{header}.{claims}".encode(), signature)
    return found


def check_signature(public: str, signed: bytes, signature: str) -> None:
    """Raises `BadToken` unless the owner of this key signed this. The signature is base64 of either alphabet."""
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    if not _PUBLIC.fullmatch(public):
        raise BadToken("there is no key to check the signature with")
    try:
        VerifyKey(base64.b32decode(public)[1:-2]).verify(signed, _bytes(signature))
    except (BadSignatureError, ValueError) as error:
        raise BadToken("the signature is not right") from error


def credentials_file(user: UserKey, token: str) -> str:
    """The text of a `.creds` file, as every client of NATS reads it."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        "Whoever has this file acts in the agent's name: keep it to yourself.\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )


def _new(kind: int) -> tuple[str, str]:
    raw = secrets.token_bytes(32)
    return _written(bytes([kind]), _public(raw)), _written(_seed_of(kind), raw)


def _public(raw: bytes) -> bytes:
    from nacl.signing import SigningKey

    return bytes(SigningKey(raw).verify_key)


def _seed_of(kind: int) -> bytes:
    """The two bytes in front of a seed: that it is one, and of what."""
    return bytes([_SEED | kind >> 5, (kind & 31) << 3])


def _opened(kind: int, seed: str) -> bytes:
    """The 32 bytes of a seed. Raises ValueError."""
    raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    if len(raw) != 36 or _written(_seed_of(kind), raw[2:-2]) != seed:
        raise ValueError("this is no seed")
    return raw[2:-2]


def _written(prefix: bytes, key: bytes) -> str:
    body = prefix + key
    return _word(body + binascii.crc_hqx(body, 0).to_bytes(2, "little"))


def _word(value: bytes) -> str:
    return base64.b32encode(value).decode().rstrip("=")


def _part(value: Mapping[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    plain = text.replace("+", "-").replace("/", "_").rstrip("=")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
