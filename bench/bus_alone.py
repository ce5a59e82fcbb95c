"""The calls on the bus that one accepted request costs, and nothing else: what no HTTP edge can be faster than.

`python -m bench.bus_alone`, told on stdin. Same client library, event loop, connections and message sizes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

import nats
import uvloop
from nats.js.client import JetStreamContext

from bench.bare import STREAM as BARE
from libs.contracts.names import new_operation_id
from libs.contracts.streams import COMMANDS, EVENTS, NAMES, name_key
from libs.contracts.subjects import COMMAND, RECORD, lane


@dataclass(frozen=True)
class Calls:
    """`tools` are (name, id), each once. `command` and `event` are sizes in bytes; `kind` is `gateway` or `bare`."""

    kind: str
    url: str
    user: str
    password: str
    tools: Sequence[tuple[str, str]]
    command: int
    event: int
    at_once: int = 32


def _of_gateway(jetstream: JetStreamContext, calls: Calls) -> Callable[[str, str], Awaitable[None]]:
    command, event = b"x" * calls.command, b"x" * calls.event

    async def accept(name: str, tool: str) -> None:
        operation = new_operation_id("bench", None)
        await jetstream.get_last_msg(f"KV_{NAMES.name}", f"$KV.{NAMES.name}.{name_key(name)}")
        await jetstream.publish(
            COMMAND["restart"].build({"tool": tool}), command, stream=COMMANDS.name, headers={"Nats-Msg-Id": operation}
        )
        record = RECORD.build({"tool": tool, "operation": operation})
        headers = {"Nats-Msg-Id": operation, "Nats-Expected-Last-Subject-Sequence": "0"}
        await asyncio.gather(
            jetstream.publish(record, event, stream=EVENTS.name, headers=headers),
            jetstream.get_msg(COMMANDS.name, seq=1, subject=lane(tool), next=True),
        )

    return accept


def _of_bare(jetstream: JetStreamContext, calls: Calls) -> Callable[[str, str], Awaitable[None]]:
    message = b"x" * calls.command

    async def publish(name: str, tool: str) -> None:
        await jetstream.publish(f"bare.{name}", message, stream=BARE)

    return publish


async def per_second(calls: Calls) -> float:
    """Requests' worth of calls a second."""
    client = await nats.connect(
        calls.url, user=calls.user, password=calls.password, inbox_prefix=f"_INBOX_{calls.user}".encode()
    )
    make = (_of_gateway if calls.kind == "gateway" else _of_bare)(client.jetstream(), calls)

    async def one_after_another(tools: Iterator[tuple[str, str]]) -> None:
        for name, tool in tools:
            await make(name, tool)

    tools = iter(calls.tools)
    start = time.perf_counter()
    await asyncio.gather(*(one_after_another(tools) for _ in range(calls.at_once)))
    seconds = time.perf_counter() - start
    await client.close()
    return len(calls.tools) / seconds


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(per_second(Calls(**json.load(sys.stdin))))))
