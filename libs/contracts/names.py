"""The identifiers that stand in messages, subjects, labels and paths, and how they are made.

A name is what people type; an id is made once and never used again. All of them are single
subject tokens: no dot, wildcard or space can occur, so a subject built from them cannot be bent.
"""

import hashlib
import re
import secrets
from typing import Annotated

from pydantic import StringConstraints

TOOL_NAME = r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?"
TOOL_ID = TOOL_NAME + r"-[a-z2-7]{6}"
OPERATION_ID = r"op-[a-z2-7]{26}"
TOKEN = r"[A-Za-z0-9_-]{1,128}"

ToolName = Annotated[str, StringConstraints(pattern=f"^{TOOL_NAME}$", max_length=40)]
ToolId = Annotated[str, StringConstraints(pattern=f"^{TOOL_ID}$", max_length=47)]
OperationId = Annotated[str, StringConstraints(pattern=f"^{OPERATION_ID}$")]
Token = Annotated[str, StringConstraints(pattern=f"^{TOKEN}$")]

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def is_tool_name(text: str) -> bool:
    return re.fullmatch(TOOL_NAME, text) is not None


def is_tool_id(text: str) -> bool:
    return len(text) <= 47 and re.fullmatch(TOOL_ID, text) is not None


def is_operation_id(text: str) -> bool:
    return re.fullmatch(OPERATION_ID, text) is not None


def random_word(length: int) -> str:
    return _word(secrets.randbits(5 * length), length)


def derived_word(length: int, *parts: str) -> str:
    """The same word for the same parts, on every machine: what makes a retry find what it made before.

    Parts are length-prefixed before hashing, so `("ab", "c")` and `("a", "bc")` differ.
    """
    digest = hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).digest()
    return _word(int.from_bytes(digest, "big"), length)


def _word(bits: int, length: int) -> str:
    return "".join(_ALPHABET[(bits >> (5 * position)) & 31] for position in range(length))


def new_operation_id(principal: str, idempotency_key: str | None) -> str:
    """130 bits: derived from who asks and the key, so the same request is the same operation; random without one."""
    word = random_word(26) if idempotency_key is None else derived_word(26, "op", principal, idempotency_key)
    return f"op-{word}"


def tool_id(name: str, operation: str, attempt: int = 0) -> str:
    """The id of the tool that this operation installs; `attempt` counts up when an id was already used."""
    return f"{name}-{derived_word(6, 'tool', operation, str(attempt))}"
