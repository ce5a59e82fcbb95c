"""What the streams hold, for Prometheus: how much there is to do, since when, and how full they are."""

# nats-py leaves the types of its answers open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from libs.contracts.envelope import Undecodable
from libs.contracts.streams import COMMANDS, Stream
from libs.contracts.subjects import COMMAND
from libs.runtime import metrics
from libs.runtime.bus.connection import Bus
from libs.runtime.scrape import Look, Reading


def fill(bus: Bus, *streams: Stream) -> Look:
    """How full these streams are; whoever looks must be allowed to ask about them."""

    async def look() -> list[Reading]:
        if not bus.connected:
            return []
        infos = await asyncio.gather(*(bus.jetstream.stream_info(stream.name) for stream in streams))
        return [
            (gauge, (stream.name,), float(value or 0))
            for stream, info in zip(streams, infos, strict=True)
            for gauge, value in (
                (metrics.stream_messages, info.state.messages),
                (metrics.stream_bytes, info.state.bytes),
                (metrics.stream_limit_bytes, info.config.max_bytes),
            )
        ]

    return look


def oldest_commands(bus: Bus) -> Look:
    """The age of what has not been done for longest, by action; seen also where no worker runs that could tell."""

    async def age(action: str) -> float | None:
        kept = await bus.next(COMMANDS, COMMAND[action].filter(), 1)
        if kept is None:
            return 0.0
        try:
            return max(0.0, (datetime.now(UTC) - kept.open().time).total_seconds())
        except Undecodable:
            return None

    async def look() -> list[Reading]:
        if not bus.connected:
            return []
        ages = await asyncio.gather(*(age(action) for action in COMMAND))
        return [
            (metrics.commands_oldest, (action,), found)
            for action, found in zip(COMMAND, ages, strict=True)
            if found is not None
        ]

    return look
