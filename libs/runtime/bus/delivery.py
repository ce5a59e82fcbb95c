"""A message that was handed to us.

While a delivery is held its heartbeats keep it ours. Acknowledgements are not fenced by the server:
a worker must know from the record that it is still the owner before it acknowledges.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from libs.runtime import tracing
from libs.runtime.bus.clock import ticks
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.timing import Timing

log = structlog.get_logger(__name__)


class Delivery:
    """One command or task in our hands."""

    def __init__(self, bus: Bus, message: Msg, timing: Timing) -> None:
        self._bus = bus
        self._message = message
        self._timing = timing
        self._beaten = ticks()
        self._lapsed = False
        self._doubtful = False
        self.sequence = message.metadata.sequence.stream
        self.subject = message.subject
        self.data = message.data
        self.trace = tracing.continued((message.headers or {}).get(tracing.HEADER))

    @property
    def deliveries(self) -> int:
        return self._message.metadata.num_delivered or 1

    def adopt(self, again: Delivery) -> None:
        """The server handed it to us again while we hold it: from now on acknowledge that one."""
        self._message = again._message

    def alive(self) -> bool:
        """Whether the server knows recently enough that we are on it; children live only as long."""
        return ticks() - self._beaten < self._timing.watchdog_bound

    def lapsed(self) -> bool:
        """Whether we were silent for so long that the command may be another's by now."""
        return self._lapsed or not self.alive()

    def doubtful(self) -> bool:
        """Whether we were silent for so long that children may have been ended: what failed then proves nothing.

        That begins before `lapsed`, as a watchdog has to be done by then.
        """
        return self._doubtful or ticks() - self._beaten > self._timing.doubt

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[None]:
        """Heartbeats from here to the end of the block."""
        beating = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beating.cancel()

    async def _beat(self) -> None:
        while True:
            self._lapsed, self._doubtful = self.lapsed(), self.doubtful()
            heard = self._bus.connected and await self._say_alive()
            await asyncio.sleep(self._timing.heartbeat / (1 if heard else 5))

    async def _say_alive(self) -> bool:
        """Counts from when it was said, once the server has answered: a line that is dead may look well for long."""
        said = ticks()
        try:
            await self._bus.nats.request(self._message.reply, Msg.Ack.Progress, timeout=self._timing.heartbeat)
        except NatsError as problem:
            log.warning("heartbeat failed", problem=repr(problem))
            return False
        self._beaten = said
        return True

    async def ack(self) -> None:
        """Returns when the server has it. If it stays away, the message comes again and is found to be done."""
        for _ in range(10):
            try:
                await self._message.ack_sync(2.0)
                return
            except NatsError as problem:
                log.warning("acknowledgement not confirmed", problem=repr(problem), sequence=self.sequence)
                await asyncio.sleep(0.2)

    async def term(self) -> None:
        await self._message.term()

    async def nak(self, delay: float) -> None:
        """Gives it back, unless it may be another's by now: that one would lose it. It comes again by itself then."""
        if not self.lapsed():
            await self._message.nak(delay=delay)
