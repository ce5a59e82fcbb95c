"""Hints that something happened to an operation or in a tool's lane.

Heard at most once and never trusted: whoever is woken looks at the stream, and looks now and then unwoken.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from nats.aio.msg import Msg

from libs.contracts.subjects import RECORD, STEP, BadSubject, Subject
from libs.runtime.bus.connection import Bus


class Signals:
    """Wakes whoever waits for an operation (its record or steps) or for a tool (any record in its lane)."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @asynccontextmanager
    async def heard(self) -> AsyncGenerator[None]:
        async with (
            self._bus.listening(RECORD.filter(), self._hear_record),
            self._bus.listening(STEP.filter(), self._hear_step),
        ):
            yield

    @contextmanager
    def of(self, key: str) -> Generator[asyncio.Event]:
        """An event set whenever this tool or operation is heard of; the waiter clears it before it looks."""
        event = asyncio.Event()
        self._waiting[key].add(event)
        try:
            yield event
        finally:
            self._waiting[key].discard(event)
            if not self._waiting[key]:
                del self._waiting[key]

    def _hear_record(self, message: Msg) -> None:
        self._wake(RECORD, message, ("operation", "tool"))

    def _hear_step(self, message: Msg) -> None:
        self._wake(STEP, message, ("operation",))

    def _wake(self, form: Subject, message: Msg, keys: tuple[str, ...]) -> None:
        try:
            fields = form.parse(message.subject)
        except BadSubject:
            return
        for key in keys:
            for event in self._waiting.get(fields[key], ()):
                event.set()


async def woken(event: asyncio.Event, seconds: float) -> None:
    """Returns when the event is set or the seconds are over."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
