"""The one client that waits for a port's first answer, whoever started what is behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

EVERY = 0.002
# Behind the engine's port proxy a connection may be taken before anybody is there to answer it.
ONE_TRY = 0.25


class NoAnswer(Exception):
    """Nobody answered in time; the text says where and what was met instead."""


async def first_answer(port: int, path: str, *, status: int = 200, within: float = 60.0) -> float:
    """When the first whole answer of this status had arrived, on the clock of `time.monotonic`."""
    give_up = time.monotonic() + within
    met = "nothing"
    while time.monotonic() < give_up:
        try:
            async with asyncio.timeout(ONE_TRY):
                answered = await _ask(port, path)
            if answered == status:
                return time.monotonic()
            met = f"status {answered}"
        except (OSError, TimeoutError, EOFError, ValueError) as problem:
            met = repr(problem)
        await asyncio.sleep(EVERY)
    raise NoAnswer(f"127.0.0.1:{port}{path} did not answer {status} within {within:g} s; it last met {met}")


async def seconds_until_answer(
    begin: Callable[[], Awaitable[object]],
    port: int,
    path: str,
    *,
    after: Callable[[], Awaitable[object]] | None = None,
) -> float:
    """From the call of `begin` to the first answer, which is asked for once `after` has returned.

    What `begin` raises ends the waiting.
    """
    start = time.monotonic()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(_answer_after(after, port, path))
        await begin()
    return waiting.result() - start


async def _answer_after(after: Callable[[], Awaitable[object]] | None, port: int, path: str) -> float:
    if after is not None:
        await after()
    return await first_answer(port, path)


async def _ask(port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        head, end, _ = answer.partition(b"\r\n\r\n")
        if not end:
            raise EOFError("hung up")
        return int(head.split(b" ", 2)[1])
    finally:
        writer.transport.abort()
