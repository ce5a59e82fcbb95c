"""Whether a stream takes what is published to it, as far as that can be known without publishing."""

from __future__ import annotations

from libs.contracts.streams import Stream
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.reader import asked_of


async def missing(bus: Bus, stream: Stream) -> str | None:
    """What keeps it from taking anything; None where nothing does. Raises `Unavailable` where nobody answers.

    A server that lost the others of its cluster goes on answering for a while, and stores nothing.
    """
    with asked_of(stream):
        cluster = (await bus.jetstream.stream_info(stream.name)).cluster
    if cluster is None or not cluster.replicas:
        return None
    if not cluster.leader:
        return f"no server of the cluster leads {stream.name}"
    away = [peer.name or "one without a name" for peer in cluster.replicas if peer.offline]
    if 2 * len(away) > len(cluster.replicas):
        return f"of the {len(cluster.replicas) + 1} servers of {stream.name}, these are away: {', '.join(away)}"
    return None
