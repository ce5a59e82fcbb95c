"""A build log of many lines: what a line costs the process that writes it, at 10,000, 30,000 and 100,000 lines.

The child process, its pipe and the batches are those of a build; instead of BuildKit a program prints such lines.
Theirs is the cost at 10,000 lines: where it is linear, the ratio is 1.
"""

from __future__ import annotations

import sys
import time
from contextlib import aclosing
from typing import Any

from bench.figures import Row
from bench.stage import Stage
from bench.turns import in_turn
from libs.contracts.names import random_word
from libs.contracts.permissions import Permissions, permissions
from libs.runtime.bus.connecting import connect
from libs.runtime.bus.logs import LogWriter
from libs.runtime.bus.provision import provision
from libs.runtime.children import Children
from libs.runtime.embedded import EmbeddedNats
from services.orchestrator.adapters.batches import in_batches
from services.orchestrator.domain.builds import BuildLog, readable

SIZES = (10_000, 30_000, 100_000)
WITNESS = "witness"
PRINTS = "import sys\nfor n in range(int(sys.argv[1])): print(f'#12 {n / 100:.2f} copying file {n} to its place')"


async def measure(stage: Stage, runs: int) -> list[Row]:
    data = stage.data("build-log")
    users = {**permissions(), WITNESS: Permissions(publish=(">",), subscribe=(">",))}
    async with EmbeddedNats(data, users) as nats, _connected(nats, "platform") as owner:
        await provision(owner, ack_wait=10.0)
        async with _connected(nats, WITNESS) as bus:
            few, some, many = await in_turn(runs, *(lambda lines=lines: _microseconds(bus, lines) for lines in SIZES))
    against = "the same at 10,000 lines"
    return [
        Row("build log, 10,000 lines", "µs a line", few),
        Row("build log, 30,000 lines", "µs a line", some, few, None, against),
        Row("build log, 100,000 lines", "µs a line", many, few, None, against),
    ]


async def _microseconds(bus: Any, lines: int) -> float:
    """Of processor time of this process, from the first line to the last one stored."""
    writer, story = LogWriter(bus, "bench-abc234", random_word(12)), BuildLog()
    before = time.process_time()
    async with (
        writer.writing(),
        Children().run([sys.executable, "-c", PRINTS, str(lines)]) as child,
        aclosing(in_batches(child.lines())) as batches,
    ):
        async for batch in batches:
            clean = [readable(line) for line in batch]
            story.read(clean)
            await writer.write(clean)
        await child.wait()
    return 1e6 * (time.process_time() - before) / lines


def _connected(nats: EmbeddedNats, user: str) -> Any:
    return connect(nats.url, user=user, password=nats.credentials[user], service=user, source=f"{user}/bench")
