"""How far the projection has come, for those who wait for it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Progress:
    """`position` is the last event in the tables, `last` the last one that the stream is known to hold.

    `rebuilt` is the id of the last rebuild that the tables are known to come from.
    """

    def __init__(self) -> None:
        self.position = 0
        self.last = 0
        self.complete = False
        self.rebuilt: str | None = None
        self._moved = asyncio.Event()
        self._watched: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def begun_at(self, position: int) -> None:
        """The tables stand here; until they hold all that the stream held then, they are not to be shown."""
        self.position = position
        self.complete = False

    def heard_of(self, last: int) -> None:
        self.last = last
        self._move()

    def came_to(self, position: int, operations: Iterable[str]) -> None:
        """All up to here is in the tables; it was about these operations."""
        self.position = position
        self._move()
        for operation in operations:
            for event in self._watched.get(operation, ()):
                event.set()

    def _move(self) -> None:
        self.complete = self.complete or self.position >= self.last
        self._moved.set()
        self._moved = asyncio.Event()

    async def reached(self, position: int, within: float) -> bool:
        """Whether everything up to a position is in the tables; waits for it so many seconds."""
        try:
            async with asyncio.timeout(within):
                while not self.complete or self.position < position:
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True

    @contextmanager
    def watching(self, operation: str) -> Iterator[asyncio.Event]:
        """An event set whenever something about this operation came into the tables; the waiter clears it first."""
        event = asyncio.Event()
        self._watched[operation].add(event)
        try:
            yield event
        finally:
            self._watched[operation].discard(event)
            if not self._watched[operation]:
                del self._watched[operation]
