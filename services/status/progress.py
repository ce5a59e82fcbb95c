"""How far the projection has come, for those who wait for it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

Told = Callable[[Iterable[str] | None], None]


class Progress:
    """`position` is the last event in the tables, `last` the last one that the stream is known to hold.

    `rebuilt` is the id of the last rebuild that the tables are known to come from.
    """

    def __init__(self) -> None:
        self.position = 0
        self.last = 0
        self.complete = False
        self._rebuilt: str | None = None
        self._told: set[Told] = set()
        self._moved = asyncio.Event()
        self._watched: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def begun_at(self, position: int) -> None:
        """The tables stand here; until they hold all that the stream held then, they are not to be shown."""
        self.position = position
        self.complete = False
        self._tell(None)

    @property
    def rebuilt(self) -> str | None:
        return self._rebuilt

    @rebuilt.setter
    def rebuilt(self, id: str) -> None:
        changed, self._rebuilt = id != self._rebuilt, id
        if changed:
            self._tell(None)

    def heard_of(self, last: int) -> None:
        self.last = last
        self._move()

    def came_to(self, position: int, operations: Iterable[str], tools: Iterable[str] | None = ()) -> None:
        """All up to here is in the tables; it was about these operations and these tools (None: maybe any)."""
        self.position = position
        self._move()
        self._tell(tools)
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
    def telling(self, told: Told) -> Iterator[None]:
        """It is called with the tools that what came into the tables was about; None: any may look different now."""
        self._told.add(told)
        try:
            yield
        finally:
            self._told.discard(told)

    def _tell(self, tools: Iterable[str] | None) -> None:
        for told in self._told:
            told(tools)

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
