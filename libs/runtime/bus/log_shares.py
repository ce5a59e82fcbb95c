"""No tool takes the room of others in LOGS: before it is full, whoever holds the most of it gives up its oldest lines.

JetStream alone pushes out what is oldest, whoever printed it, so one tool with many services, or with many long build
logs, would cost its neighbours theirs. Nobody tells how many bytes a tool holds: they are estimated, from how many
chunks it has, which the stream tells, and from the size of some of them.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
from nats.errors import Error as NatsError

from libs.contracts.names import is_operation_id
from libs.contracts.streams import LOGS
from libs.contracts.subjects import LOG
from libs.runtime import metrics
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.lease import LeaseLost, lease
from libs.runtime.bus.log_estimate import Estimate, Sources
from libs.runtime.bus.reader import count_by_subject
from libs.runtime.fair_shares import Cut, cuts

log = structlog.get_logger(__name__)

# Seconds between two looks. A tool at its fastest prints some 10 MB in that time.
LOOK_AGAIN = 2.0
# Times as long as a look took that brought nothing, or broke off, before the next one; and the most seconds.
PATIENCE, LONGEST = 20, 30.0
# Of what the stream may hold: from where on something has to go, and what there is room for after that.
HIGH, LOW = 3 / 4, 1 / 2
# Bytes that the server keeps of a chunk beside its lines, about.
BESIDE = 200
# Chunks that are looked at to know the others, each of up to 64 KiB: of all tools, and again of all that hold too much;
# of one tool or source; and of how many of those at once.
LOOKS, LOOKS_AT_ONE, AT_ONCE = 1024, 16, 8
# Each keeps writers waiting for up to 0.1 s, so the rest has its turn at the next look.
PURGES = 64
# Of one tool: their logs stay in any case, so that nobody's is taken away who may still write it.
NEWEST_OPERATIONS = 16


@dataclass(frozen=True)
class _Stream:
    """Bytes that it holds, and that it may hold."""

    size: int
    limit: int


@dataclass(frozen=True)
class LogShares:
    """One of several replicas looks; that two do for a moment costs nothing."""

    bus: Bus

    async def run(self) -> None:
        while True:
            try:
                async with lease(self.bus, "logs.shares"):
                    while True:
                        await self._in_its_turn()
            except* (LeaseLost, NatsError) as lost:
                log.warning("nobody looks from here how full LOGS is", problem=str(lost.exceptions[0]))
            await asyncio.sleep(LOOK_AGAIN)

    async def _in_its_turn(self) -> None:
        clock = asyncio.get_running_loop()
        began = clock.time()
        cleared = 0
        try:
            cleared = await self.share()
        except* (Unavailable, NatsError) as broken:
            # The lease is kept: whoever got it would begin the same anew at once.
            log.warning("not all that LOGS has too much of made way", problem=str(broken.exceptions[0]))
        # Where nothing can make way, looking for it must not become what the platform does.
        patient = min(LONGEST, PATIENCE * (clock.time() - began))
        await asyncio.sleep(LOOK_AGAIN if cleared else max(LOOK_AGAIN, patient))

    async def share(self) -> int:
        """Looks once; returns how many chunks made way. Raises `Unavailable`, and what nats-py raises."""
        stream = await _look(self.bus)
        if stream.limit <= 0 or stream.size <= HIGH * stream.limit:
            return 0
        tools: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for subject, chunks in (await count_by_subject(self.bus, LOGS, LOG.filter())).items():
            if LOG.takes(subject):
                tools[LOG.parse(subject)["tool"]][subject] = chunks
        return await self._bring_down(stream, tools)

    async def _bring_down(self, stream: _Stream, tools: Mapping[str, Sources]) -> int:
        estimate = Estimate(tools, stream.size, LOW * stream.limit)
        large = estimate.possibly_large(LOOKS)
        wanted = [(LOG.filter(tool=tool), _looks(len(large))) for tool in large]
        for tool, mean in zip(large, await self._means(wanted), strict=True):
            estimate.of_tool(tool, mean)
        _, above = estimate.above()
        for tool in above:
            sources = estimate.largest_sources(tool, LOOKS // len(above))
            wanted = [(subject, _looks(len(sources) * len(above))) for subject in sources]
            estimate.of_sources(tool, dict(zip(sources, await self._means(wanted), strict=True)))
        return await self._cut(estimate)

    async def _cut(self, estimate: Estimate) -> int:
        most, above = estimate.above()
        found: list[Cut] = []
        cleared = 0
        for tool, size in above.items():
            own = cuts(estimate.holdings(tool, size), most)
            found += own
            if not own:
                cleared += await self._clear_operations(tool, estimate.tools[tool], size - most)
        found.sort(key=lambda cut: cut.gain, reverse=True)
        for cut in found[:PURGES]:
            cleared += await self._purge(cut.subject, keep=cut.keep)
        log.info("tools hold more than their share of LOGS", tools=list(above)[:10], chunks=cleared)
        return cleared

    async def _means(self, wanted: Sequence[tuple[str, int]]) -> list[float]:
        """The usual size of a chunk under each of these subjects, from so many of them."""
        places = asyncio.Semaphore(AT_ONCE)

        async def mean(subject: str, looks: int) -> float:
            async with places:
                return await self._mean(subject, looks)

        async with asyncio.TaskGroup() as group:
            found = [group.create_task(mean(subject, looks)) for subject, looks in wanted]
        return [each.result() for each in found]

    async def _mean(self, subject: str, looks: int) -> float:
        """Of its newest chunk, its oldest, and some that lie evenly far apart between them."""
        newest, oldest = await self.bus.last(LOGS, subject), await self.bus.next(LOGS, subject, 1)
        if newest is None or oldest is None:
            return 0.0
        found = {each.sequence: len(each.data) + BESIDE for each in (newest, oldest)}
        for number in range(1, looks - 1):
            place = oldest.sequence + (newest.sequence - oldest.sequence) * number // (looks - 1)
            kept = await self.bus.next(LOGS, subject, place)
            if kept is not None:
                found[kept.sequence] = len(kept.data) + BESIDE
        return sum(found.values()) / len(found)

    async def _clear_operations(self, tool: str, sources: Sources, excess: float) -> int:
        """Of a tool with nothing but newest chunks: the oldest operations lose their last one too."""
        operations = {subject for subject in sources if is_operation_id(LOG.parse(subject)["source"])}
        cleared = 0
        if len(operations) <= NEWEST_OPERATIONS:
            return 0
        async for kept in self.bus.each(LOGS, LOG.filter(tool=tool)):
            if excess <= 0 or cleared >= PURGES or len(operations) <= NEWEST_OPERATIONS:
                break
            if kept.subject in operations:
                operations.discard(kept.subject)
                cleared += await self._purge(kept.subject, seq=kept.sequence + 1)
                excess -= len(kept.data) + BESIDE
        return cleared

    async def _purge(self, subject: str, **most: int) -> int:
        """All under the subject but the newest (`keep`), or what stands before a sequence (`seq`); returns how many."""
        answer = await self.bus.ask_jetstream(f"STREAM.PURGE.{LOGS.name}", {"filter": subject, **most})
        metrics.log_chunks_cleared.inc(answer["purged"])
        return answer["purged"]


def _looks(sources: int) -> int:
    """How many chunks are looked at of each of so many."""
    return max(2, min(LOOKS_AT_ONE, LOOKS // max(1, sources)))


async def _look(bus: Bus) -> _Stream:
    info = await bus.ask_jetstream(f"STREAM.INFO.{LOGS.name}", {})
    return _Stream(info["state"]["bytes"], info["config"]["max_bytes"])
