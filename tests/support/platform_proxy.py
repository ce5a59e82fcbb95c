"""A line to the real engine that can be cut and mended; the engine itself, which others use, notices nothing."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

ENGINE = "unix:///var/run/docker.sock"
CHUNK = 64 * 1024


class EngineProxy:
    """Listens on a socket of its own; `address` is what DOCKER_HOST is to be."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._engine = urlsplit(os.environ.get("DOCKER_HOST") or ENGINE)
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"unix://{self._socket}"

    async def cut(self) -> None:
        """As if the engine were killed: nobody listens any more, and every connection ends in the middle."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._socket.unlink(missing_ok=True)
        for line in tuple(self._lines):
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def mend(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._socket)

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.create_task(self._carry(reader, writer))
        self._lines.add(line)
        line.add_done_callback(self._lines.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            engine_reader, engine_writer = await self._to_engine()
            writers.append(engine_writer)
            ways = (_pass_on(reader, engine_writer), _pass_on(engine_reader, writer))
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            for each in writers:
                each.transport.abort()

    async def _to_engine(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._engine.scheme == "unix":
            return await asyncio.open_unix_connection(self._engine.path)
        return await asyncio.open_connection(self._engine.hostname, self._engine.port)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
