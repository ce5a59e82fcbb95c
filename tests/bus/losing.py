"""Answers that get lost on their way: what was stored is stored, and whoever stored it is not told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nats.errors import TimeoutError as NatsTimeout

from libs.runtime.bus.connection import Bus


def lose_answers(bus: Bus, lost: Callable[[str, bytes], Awaitable[bool]]) -> None:
    """Of everything this connection stores from now on, the answers for which `lost(subject, payload)` says so."""
    replies = bus._replies  # pyright: ignore[reportPrivateUsage]
    ask = replies.ask

    async def asking(subject: str, payload: bytes, *more: Any, **named: Any) -> bytes:
        answer = await ask(subject, payload, *more, **named)
        stores = not subject.startswith("$JS.API.")
        if stores and await lost(subject, payload):
            raise NatsTimeout
        return answer

    replies.ask = asking
