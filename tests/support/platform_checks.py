"""What must be true after whatever happened, found in the records and on the engine."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

from libs.contracts.names import random_word
from libs.contracts.operations import OperationEnded, OperationSucceeded
from libs.contracts.streams import COMMANDS, TASKS
from libs.runtime.bus.records import Record
from tests.support.platform import Platform
from tests.support.platform_api import Accepted
from tests.support.platform_engine import Happened
from tests.support.platform_waiting import until


def fresh(word: str) -> str:
    """A name for a tool that nobody has."""
    return f"{word}-{random_word(5)}"


async def succeeded(platform: Platform, *operations: Accepted) -> list[OperationEnded]:
    """How they ended; each of them well, and once."""
    ended = [await platform.ended(each) for each in operations]
    for accepted, end in zip(operations, ended, strict=True):
        assert isinstance(end, OperationSucceeded), f"{accepted.kind} of {accepted.tool}: {end}"
        assert_one_end(await platform.record(accepted))
    return ended


def assert_one_end(record: Record) -> None:
    """One committed outcome, as the record's last word, and of its newest owner."""
    kinds = [type(entry.event).__name__ for entry in record.entries]
    ends = [entry.event for entry in record.entries if isinstance(entry.event, OperationEnded)]
    assert len(ends) == 1, kinds
    assert record.entries[-1].event is ends[0], kinds
    assert ends[0].fence == record.fence, kinds


async def nothing_waits(platform: Platform) -> None:
    """Returns when no command and no task is stored any more: what was accepted was done and acknowledged."""

    async def look() -> bool:
        infos = [await platform.bus.jetstream.stream_info(stream.name) for stream in (COMMANDS, TASKS)]
        return all(info.state.messages == 0 for info in infos)

    await until(look, "COMMANDS and TASKS are empty")


async def in_order(platform: Platform, lane: Sequence[Accepted]) -> None:
    """The operations of one tool, in the order they were sent: each began only after the one before had ended."""
    records = [await platform.record(each) for each in lane]
    for accepted, record in zip(lane, records, strict=True):
        assert record.ended is not None, f"{accepted.kind} has not ended"
        assert_one_end(record)
    for before, after in itertools.pairwise(records):
        began = after.starts[0][0] if after.starts else after.ended_at
        assert before.ended_at < began, f"{before.entries} and {after.entries} overlap"


def counted(happened: Iterable[Happened], action: str) -> Counter[str]:
    """How often it happened to each tool."""
    return Counter(each.tool for each in happened if each.action == action)


def worker_of(platform: Platform, accepted: Accepted, attempt: int = 1) -> str | None:
    """The name of the process that says it has begun the operation."""
    for name, process in platform.processes.items():
        for line in process.lines():
            if (line.get("event"), line.get("operation"), line.get("attempt")) == (
                "operation started",
                accepted.operation,
                attempt,
            ):
                return name
    return None
