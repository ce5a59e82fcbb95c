"""A load on an HTTP server, from a process of its own: `python -m bench.loadgen`, told what to do on stdin.

Keep-alive connections that each send their next request when the last one is answered. Plain sockets, so that
what is measured is the server.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import cast

import uvloop

from bench.figures import percentile


@dataclass(frozen=True)
class Load:
    """Each of `paths` is asked once, in this order, over `connections` connections. `expect` is the good status."""

    port: int
    paths: Sequence[str]
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    method: str = "POST"
    connections: int = 32
    expect: int = 202


@dataclass(frozen=True)
class Outcome:
    """Seconds for all of it; milliseconds from a request's first byte to its answer's last."""

    seconds: float
    answers: int
    p50: float
    p99: float
    others: dict[str, int]

    @property
    def per_second(self) -> float:
        return self.answers / self.seconds


class BadAnswer(Exception):
    """What came back is no HTTP that this client reads, or the server hung up."""


@dataclass
class Tally:
    latencies: list[float] = field(default_factory=list[float])
    others: Counter[str] = field(default_factory=Counter[str])


def request_bytes(load: Load, path: str) -> bytes:
    head = [f"{load.method} {path} HTTP/1.1", f"Host: 127.0.0.1:{load.port}", "Content-Length: 0"]
    head += [f"{name}: {value}" for name, value in load.headers.items()]
    return ("\r\n".join(head) + "\r\n\r\n").encode()


def whole_answer(received: bytes) -> tuple[int, int] | None:
    """Status and length of an answer that is complete, None while more is to come."""
    head, end, _ = received.partition(b"\r\n\r\n")
    if not end:
        return None
    lines = head.lower().split(b"\r\n")
    length = next((int(line[15:]) for line in lines[1:] if line.startswith(b"content-length:")), None)
    if length is None:
        raise BadAnswer(f"an answer without a length: {head[:200]!r}")
    total = len(head) + 4 + length
    return (int(lines[0].split(b" ")[1]), total) if len(received) >= total else None


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], load: Load, tally: Tally) -> None:
        self.requests, self.load, self.tally = requests, load, tally
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = b""
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask(self) -> None:
        request = next(self.requests, None)
        if request is None:
            self.done.set_result(None)
            self.transport.close()
            return
        self.received = b""
        self.sent = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        try:
            found = whole_answer(self.received)
        except BadAnswer as problem:
            self.done.set_exception(problem)
            self.transport.abort()
            return
        if found is not None:
            self.tally.latencies.append(time.perf_counter() - self.sent)
            if found[0] != self.load.expect:
                body = self.received.partition(b"\r\n\r\n")[2]
                self.tally.others[f"{found[0]} {body[:120].decode(errors='replace')}"] += 1
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(BadAnswer(f"the server hung up: {exc!r}"))


async def carry_out(load: Load) -> Outcome:
    """All connections are open before the clock starts."""
    requests = iter([request_bytes(load, path) for path in load.paths])
    tally = Tally()
    loop = asyncio.get_running_loop()
    opened = [
        (await loop.create_connection(lambda: _Connection(requests, load, tally), "127.0.0.1", load.port))[1]
        for _ in range(load.connections)
    ]
    start = time.perf_counter()
    for connection in opened:
        connection.ask()
    await asyncio.gather(*(connection.done for connection in opened))
    seconds = time.perf_counter() - start
    milliseconds = [1000 * latency for latency in tally.latencies]
    return Outcome(
        seconds, len(milliseconds), percentile(milliseconds, 50), percentile(milliseconds, 99), dict(tally.others)
    )


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(asdict(runner.run(carry_out(Load(**json.load(sys.stdin)))))))
