"""What is looked up when Prometheus asks, and not before: numbers that others hold, such as a queue on the server."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager

from prometheus_client import Gauge

from libs.runtime import metrics
from libs.runtime.logging import get_logger

# Prometheus gives up after ten seconds, and what is known is better than nothing.
PATIENCE = 2.0

Reading = tuple[Gauge, tuple[str, ...], float]
"""A gauge that has labels, their values in order, and what it reads."""

Look = Callable[[], Awaitable[Iterable[Reading]]]

log = get_logger(__name__)


class _Looker:
    """One look, and what it said last: a number that could not be looked up goes, instead of standing still."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._looking: asyncio.Task[None] | None = None
        self._missing = False
        self._said: set[tuple[Gauge, tuple[str, ...]]] = set()

    async def look(self) -> None:
        """Who asks while somebody looks gets what that one finds."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_once())
        await asyncio.shield(self._looking)

    async def _look_once(self) -> None:
        readings: list[Reading] = []
        problem: Exception | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                readings = list(await self._look())
        except Exception as trouble:
            problem = trouble
        if problem is not None and not self._missing:
            log.warning("metrics are missing until they can be looked up again", problem=repr(problem))
        self._missing = problem is not None
        self._say(readings)

    def _say(self, readings: Iterable[Reading]) -> None:
        now: set[tuple[Gauge, tuple[str, ...]]] = set()
        for gauge, labels, value in readings:
            gauge.labels(*labels).set(value)
            now.add((gauge, labels))
        for gauge, labels in self._said - now:
            gauge.remove(*labels)
        self._said = now

    def forget(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self._say(())


_lookers: set[_Looker] = set()


@contextmanager
def looked_up(look: Look) -> Generator[None]:
    """While this lasts, what `look` finds is in what Prometheus reads."""
    looker = _Looker(look)
    _lookers.add(looker)
    try:
        yield
    finally:
        _lookers.discard(looker)
        looker.forget()


async def answer() -> bytes:
    """Everything, as Prometheus reads it; takes at most `PATIENCE` seconds, however many do not answer."""
    await asyncio.gather(*(looker.look() for looker in tuple(_lookers)))
    # Beside the event loop: it takes as long as fifty requests.
    return await asyncio.to_thread(metrics.render)
