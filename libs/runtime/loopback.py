"""Ports on loopback: which are free, and whether it is our NATS server that answers on one."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

ADDRESS = "127.0.0.1"
NEIGHBOURS = 100
LOOK_EVERY = 0.004


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def candidates(remembered: int | None, usual: int) -> Iterator[int]:
    """Free ports, best first: the one used last, the usual one, those above it, then any.

    Those above come before any, because the kernel gives the high ones to outgoing connections: a client that
    knocks again and again on its dead server's high port may end up connected to itself.
    """
    known = [remembered] if remembered is not None else []
    for port in [*known, usual, *range(usual + 1, usual + NEIGHBOURS)]:
        if is_free(port):
            yield port
    while True:
        with socket.socket() as probe:
            probe.bind((ADDRESS, 0))
            port = probe.getsockname()[1]
        yield port


async def until_nats_answers(port: int, name: str, *, unless: Callable[[], bool]) -> None:
    """Returns when the NATS server called `name` answers with JetStream enabled, or `unless()` is true."""
    while not unless():
        greeting = await _greeting(port)
        if greeting.get("server_name") == name and greeting.get("jetstream"):
            return
        await asyncio.sleep(LOOK_EVERY)


async def _greeting(port: int) -> dict[str, Any]:
    """What a NATS server says of itself to whoever connects; empty if nobody or somebody else is there."""
    try:
        reader, writer = await asyncio.open_connection(ADDRESS, port)
    except OSError:
        return {}
    try:
        async with asyncio.timeout(1.0):
            line = await reader.readuntil(b"\r\n")
        return json.loads(line.removeprefix(b"INFO "))
    except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        return {}
    finally:
        writer.close()
