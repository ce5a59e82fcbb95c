"""Waiting for what nobody tells us: look, until it is so or patience is over."""

from __future__ import annotations

import time
from asyncio import sleep
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar, cast

WITHIN = 40.0
Found = TypeVar("Found")


async def until(look: Callable[[], Awaitable[Found | None] | Found | None], what: str, within: float = WITHIN) -> Found:
    """What `look` finds, as soon as that is something."""
    give_up = time.monotonic() + within
    while True:
        answer = look()
        found = await answer if isawaitable(answer) else answer
        if found:
            return cast("Found", found)
        assert time.monotonic() < give_up, f"not within {within:g} s: {what}"
        await sleep(0.03)
