"""A thousand people who look on: WebSocket clients, each with its own topic, that note when which event reached them.

`python -m bench.lookers`, told on stdin: first a `Looking` as one line of JSON; once all are connected, `ready` is said
on stdout; then a line with the sequence of events to come, as `{id: when it was stored, in nanoseconds}`, once no more
come, and the answer is a `Seen`.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bench.figures import percentile

_ID = re.compile(r'"specversion": ?"1.0", ?"id": ?"([^"]+)"')
AT_ONCE = 50


@dataclass(frozen=True)
class Looking:
    """`paths` are those of the upgrades; the last `together` of them are sent many events in a frame."""

    port: int
    paths: Sequence[str]
    together: int
    headers: dict[str, str]


@dataclass(frozen=True)
class Seen:
    """Milliseconds, of events that came alone and of those that came together; `missed` were never seen by who should.

    `last` is when the last one came, in nanoseconds.
    """

    alone: tuple[float, float]
    together: tuple[float, float]
    events: int
    missed: int
    last: int


@dataclass
class _Looker:
    socket: ClientConnection
    seen: list[tuple[str, int]]

    async def look(self) -> None:
        try:
            async for frame in self.socket:
                now = time.time_ns()
                self.seen += [(id, now) for id in _ID.findall(frame if isinstance(frame, str) else frame.decode())]
        except ConnectionClosed:
            return


async def look(looking: Looking) -> None:
    opening = asyncio.Semaphore(AT_ONCE)

    async def opened(path: str) -> _Looker:
        address = f"ws://127.0.0.1:{looking.port}{path}"
        async with opening:
            socket = await connect(
                address, additional_headers=looking.headers, compression=None, ping_interval=None, open_timeout=120
            )
        return _Looker(socket, [])

    lookers = await asyncio.gather(*(opened(path) for path in looking.paths))
    tasks = [asyncio.create_task(looker.look()) for looker in lookers]
    print("ready", flush=True)
    stored: dict[str, int] = json.loads(await asyncio.to_thread(sys.stdin.readline))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    first = len(lookers) - looking.together
    print(json.dumps(asdict(_summed(lookers[:first], lookers[first:], stored))), flush=True)
    for looker in lookers:
        looker.socket.transport.abort()


def _summed(alone: Sequence[_Looker], together: Sequence[_Looker], stored: dict[str, int]) -> Seen:
    singly = Counter(id for looker in alone for id, _ in looker.seen)
    missed = sum(1 for id in stored if id not in singly) if alone else 0
    missed += sum(len(stored.keys() - {id for id, _ in looker.seen}) for looker in together)
    times = [[at - stored[id] for each in which for id, at in each.seen if id in stored] for which in (alone, together)]
    both = [_half_and_most([nanoseconds / 1e6 for nanoseconds in each]) for each in times]
    last = max((at for looker in (*alone, *together) for _, at in looker.seen), default=0)
    return Seen(both[0], both[1], sum(map(len, times)), missed, last)


def _half_and_most(values: Sequence[float]) -> tuple[float, float]:
    return (percentile(values, 50), percentile(values, 99)) if values else (0.0, 0.0)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(look(Looking(**json.loads(sys.stdin.readline()))))
