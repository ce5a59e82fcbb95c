"""Whether a stream takes what is published to it, as far as that can be known without publishing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from libs.contracts.streams import Stream
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.reader import asked_of
from libs.runtime.health import Check

# Seconds; sooner than a check is given up as one that hangs.
ANSWERS_WITHIN = 1.5


@dataclass(frozen=True)
class Keepers:
    """The servers that keep a stream: how many, and whether one leads the others.

    `away` are the names of those that have not heard of all that is kept: they are dead, cut off, or still catching
    up; `lost` those of which the server says itself that they are gone, which it does not of one that was killed.
    """

    stream: str
    count: int
    away: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    led: bool = True

    @property
    def problem(self) -> str | None:
        """What keeps the stream from taking anything; None where nothing does."""
        if not self.led:
            return f"no server of the cluster leads {self.stream}"
        if 2 * len(self.lost) >= self.count:
            return f"of the {self.count} servers of {self.stream}, these are away: {', '.join(self.lost)}"
        return None


async def keepers(bus: Bus, stream: Stream) -> Keepers:
    """Raises `Unavailable` where nobody answers.

    A server that lost the others of its cluster goes on answering for a while, and stores nothing.
    """
    with asked_of(stream):
        cluster = (await bus.jetstream.stream_info(stream.name)).cluster
    if cluster is None or not cluster.replicas:
        return Keepers(stream.name, 1)
    names = {peer.name or "one without a name": peer for peer in cluster.replicas}
    lost = tuple(name for name, peer in names.items() if peer.offline)
    away = tuple(name for name, peer in names.items() if peer.offline or not peer.current)
    return Keepers(stream.name, len(cluster.replicas) + 1, away, lost, bool(cluster.leader))


async def nats_checks(bus: Bus, stream: Stream) -> list[Check]:
    """What a service says of NATS that has to publish to this stream.

    A connection alone is not enough: one to a server that lost the others stays, and nothing gets through it.
    """
    if not bus.connected:
        return [Check("nats", False, "not connected")]
    try:
        async with asyncio.timeout(ANSWERS_WITHIN):
            return checks_of(await keepers(bus, stream))
    except (TimeoutError, Unavailable) as away:
        return [Check("nats", False, f"connected, but JetStream does not answer: {away!r}")]


def checks_of(found: Keepers) -> list[Check]:
    """A cluster that lost one server goes on, but somebody has to know: it may stop with the next one."""
    problem = found.problem
    checks = [Check("nats", problem is None, "connected" if problem is None else f"connected, but {problem}")]
    if found.count > 1:
        there = f"{found.count - len(found.away)} of {found.count} servers are there"
        detail = f"{there}; away: {', '.join(found.away)}" if found.away else there
        checks.append(Check("nats_servers", not found.away, detail, critical=False))
    return checks
