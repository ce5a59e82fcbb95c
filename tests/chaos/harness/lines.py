"""A line to NATS for each process, which can go dead without a word and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.bus.cable import Cable


class Line(Cable):
    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As a cable does; where the server is down, whoever knocks is told so."""
        try:
            await super().carry(reader, writer)
        except OSError:
            writer.transport.abort()


@asynccontextmanager
async def line(target: int) -> AsyncGenerator[Line]:
    """To the server on this port of loopback, however often that dies and comes back."""
    made = Line(target)
    server = await asyncio.start_server(made.carry, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.close()
        server.close()
