"""A connection to a NATS server that keeps what the server refused it.

A denied publish is silence for whoever published it; the server tells the connection, and that is what is looked at.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

from nats.aio.client import Client

from libs.runtime.bus.connecting import close
from tests.support.nats_server import NatsServers

REFUSAL = re.compile(r'permissions violation for (?:publish|subscription) to "([^"]*)"')


class Voice:
    """A connection of one user, and what the server refused it."""

    def __init__(self) -> None:
        self.client: Client
        self._refusals: list[str] = []

    async def hear(self, problem: Exception) -> None:
        self._refusals.append(str(problem))

    async def refused(self) -> set[str]:
        """The subjects refused so far, in lower case as the client hands them on."""
        await self.client.flush()
        await asyncio.sleep(0.02)
        await self.client.flush()
        said = (REFUSAL.search(each) for each in self._refusals)
        return {each[1] for each in said if each is not None}

    async def refused_of(self, subjects: Iterable[str], *, subscribing: bool = False) -> set[str]:
        """Those of these subjects that the server refuses."""
        tried = list(dict.fromkeys(subjects))
        for subject in tried:
            if subscribing:
                await self.client.subscribe(subject)
            else:
                await self.client.publish(subject, b"?")
        refused = await self.refused()
        return {subject for subject in tried if subject.lower() in refused}


@asynccontextmanager
async def speaking(server: NatsServers, user: str) -> AsyncGenerator[Voice]:
    voice = Voice()
    voice.client = await server.connect(user, error_cb=voice.hear)
    try:
        yield voice
    finally:
        await close(voice.client)
