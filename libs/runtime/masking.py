"""Makes text safe to show: secrets masked, control characters inert.

What tools, repositories and callers send ends in logs, errors and terminals. There it may neither
give away a credential nor move a cursor, change a title or hide a line.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import pydantic_core

MASK = "***"

_SECRET_KEY = re.compile(
    r"(^|[_.-])(authorization|token|password|passwd|secret|cookie|credentials?|api[_-]?key|private[_-]?key)s?$",
    re.IGNORECASE,
)
# `git` alone is the user of every ssh remote, and no secret.
_URL_CREDENTIALS = re.compile(r"(?<=://)(?!git@[^@/]*(?:[/\s\"]|$))[^/?#\s\"]+(?=@)")
_QUERY_SECRET = re.compile(r"(?<=[?&])([\w-]*(?:token|secret|password|signature|key)=)[^&#\s\"]+", re.IGNORECASE)
# With a digit, a capital or padding in it, or longer than any word, so that prose on "basic functions" stays
# readable. It looks no further ahead than that: a line of "bearer.bearer." costs no more than another.
_BEARER = re.compile(
    r"\b([Bb]earer|BEARER|[Bb]asic|BASIC)([ .])(?!(?i:bearer|basic) )(?=\S{0,200}[0-9A-Z_=]|\S{200})[\w.~+/=-]{6,}"
)

# C0, DEL and C1; line and paragraph separators; what changes the direction of text or has no width.
_UNSAFE = [
    *range(0x20),
    *range(0x7F, 0xA0),
    *range(0x200B, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2060, 0x206A),
    0xFEFF,
]
_SHORT = {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}
_INERT = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _UNSAFE} | _SHORT


@lru_cache(maxsize=1024)
def is_secret_key(key: str) -> bool:
    """Whether what stands under this name is never shown: `password`, `admin_token`, `Authorization`."""
    return _SECRET_KEY.search(key) is not None


def masked(text: str) -> str:
    """The text without credentials in URLs, bearer tokens and secret query parameters."""
    if "://" in text:
        text = _URL_CREDENTIALS.sub(MASK, text)
        text = _QUERY_SECRET.sub(rf"\1{MASK}", text)
    if "earer" in text or "asic" in text or "EARER" in text or "ASIC" in text:
        text = _BEARER.sub(rf"\1\2{MASK}", text)
    return text


def inert(text: str, keep: str = "") -> str:
    """The text with every control character written out (`\\x1b`), except those in `keep`."""
    if text.isprintable():
        return text
    return text.translate({code: shown for code, shown in _INERT.items() if chr(code) not in keep})


def to_json(value: Mapping[str, Any]) -> str:
    """One line in ASCII alone: whatever is not, controls included, stands escaped."""
    try:
        text = pydantic_core.to_json(value, fallback=repr, ensure_ascii=True).decode()
    except pydantic_core.PydanticSerializationError:
        # Half a surrogate pair, which only this slower way writes out.
        text = json.dumps(value, default=repr, separators=(",", ":"))
    return text.replace("\x7f", "\\u007f")
