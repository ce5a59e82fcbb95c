"""What a NATS server asks when a stranger connects, and what it is answered: pure functions of tokens.

The server hands on what it gave the stranger to sign, and the signature. It keeps back the token of his credentials
file, as a server without operators does (measured on 2.10.26 and 2.15.1): so it is the signature that says who he is,
by the key that it fits. The answer is bound to that server and to the key that it made for this one connection, so
that it lets in nobody else.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from libs.contracts.permissions import Permissions
from libs.runtime.nats_config import MACHETE, only
from libs.runtime.nats_keys import BadToken, Issuer, UserKey, check_signature, claims_of, token

# An agent that follows every tool by itself has a subscription for each; more than these are an accident.
MOST_SUBSCRIPTIONS = 1000


@dataclass(frozen=True)
class Callout:
    """`server` and `connection` are what the answer is bound to; `key` and `name` are claims, empty if none is made."""

    server: str
    connection: str
    nonce: str
    signature: str
    key: str
    name: str


def asked(payload: bytes) -> Callout:
    """Raises `BadToken` for what no server sent."""
    claims = claims_of(payload.decode("ascii", errors="replace"))
    nats = _mapping(claims.get("nats"))
    server, options = _mapping(nats.get("server_id")), _mapping(nats.get("connect_opts"))
    if claims["iss"] != server.get("id") or nats.get("type") != "authorization_request":
        raise BadToken("this is no question of a server")
    return Callout(
        server=str(server["id"]),
        connection=str(nats.get("user_nkey", "")),
        nonce=str(_mapping(nats.get("client_info")).get("nonce", "")),
        signature=str(options.get("sig", "")),
        key=str(options.get("nkey", "")),
        name=str(options.get("name", "")),
    )


def signer(callout: Callout, known: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
    """Which of the known (name, key) has signed; None if none has. It costs 50 µs for each that has not.

    A stranger who says which key is his, or calls himself as he is called here, is compared with that first.
    """
    if not callout.nonce or not callout.signature:
        return None
    likely = [(name, key) for name, key in known if callout.key in ("", key)]
    for name, key in sorted(likely, key=lambda each: each[0] != callout.name):
        if _signed(key, callout):
            return name, key
    return None


def _signed(key: str, callout: Callout) -> bool:
    try:
        check_signature(key, callout.nonce.encode(), callout.signature)
    except BadToken:
        return False
    return True


def credentials(issuer: Issuer, agent: str, user: UserKey) -> str:
    """The token of a credentials file, which clients want to see in it. It gives no rights."""
    return token(issuer, {"sub": user.public, "name": agent, "nats": {"type": "user", "version": 2}})


def admission(callout: Callout, issuer: Issuer, user: str, allowed: Permissions) -> bytes:
    """Lets this one connection in, as the server's user of this name."""
    rights = {
        "pub": only(allowed.publish),
        "sub": only(allowed.subscribe),
        "subs": MOST_SUBSCRIPTIONS,
        "data": -1,
        "payload": -1,
        "allowed_connection_types": ["STANDARD"],
        "type": "user",
        "version": 2,
    }
    claims = {"sub": callout.connection, "aud": MACHETE, "name": user, "nats": rights}
    return _answer(callout, issuer, {"jwt": token(issuer, claims)})


def refusal(callout: Callout, issuer: Issuer, reason: str) -> bytes:
    """Turns this one connection away; the server logs the reason and tells the stranger nothing of it."""
    return _answer(callout, issuer, {"error": reason})


def _answer(callout: Callout, issuer: Issuer, said: dict[str, str]) -> bytes:
    nats = {**said, "type": "authorization_response", "version": 2}
    return token(issuer, {"sub": callout.connection, "aud": callout.server, "nats": nats}).encode()


def _mapping(value: object) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}
