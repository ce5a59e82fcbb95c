"""A tool with a flood of lines, of however many services or builds, costs its neighbours not one of theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from nats.errors import TimeoutError as NatsTimeout

from libs.contracts.logs import LogChunk
from libs.contracts.names import new_operation_id
from libs.contracts.streams import LOGS, MIB
from libs.contracts.subjects import LOG
from libs.runtime.bus import log_shares
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.log_shares import NEWEST_OPERATIONS, LogShares
from libs.runtime.bus.logs import LogWriter
from libs.runtime.metrics import REGISTRY
from tests.bus.hub import Hub, on_both_servers
from tests.bus.test_log_floods import counted
from tests.support.stage import eventually

FLOOD = "flood-aaaaaa"
QUIET = [f"quiet-aaaaa{letter}" for letter in "abcde"]
ROOM = 6 * MIB
WIDE = "x" * 12_000  # five of these are one chunk


async def small(hub: Hub) -> None:
    """LOGS with little room."""
    config = (await hub.witness.jetstream.stream_info(LOGS.name)).config
    await hub.witness.jetstream.update_stream(config.evolve(max_bytes=ROOM))


async def size(hub: Hub) -> int:
    return (await hub.witness.jetstream.stream_info(LOGS.name)).state.bytes


async def prints(writer: LogWriter, first: int, count: int, text: str = "") -> None:
    """Numbered lines, stored when it returns."""
    await writer.write([f"{number} {text}" for number in range(first, first + count)])
    await writer.flush()


async def said_little(hub: Hub) -> None:
    for tool in QUIET:
        writer = LogWriter(hub.witness, tool, "web", exclusive=True)
        for number in range(30):
            await prints(writer, number, 1)


async def kept(hub: Hub, tool: str, source: str) -> tuple[list[int], int]:
    """The lines that are there, and how many are missing before and between them."""
    subject = LOG.build({"tool": tool, "source": source})
    return counted([each async for each in hub.all(LOGS, subject) if isinstance(each, LogChunk)])


async def the_quiet_have_all(hub: Hub) -> None:
    for tool in QUIET:
        assert await kept(hub, tool, "web") == (list(range(30)), 0), tool


@on_both_servers
async def test_a_flood_from_many_services_costs_the_neighbours_nothing_and_its_own_newest_lines_stay(hub: Hub):
    await small(hub)
    await said_little(hub)
    writers = {f"s{number}": LogWriter(hub.witness, FLOOD, f"s{number}", exclusive=True) for number in range(12)}
    async with hub.connected("orchestrator", "orchestrator/shares") as bus:
        for turn in range(40):
            for writer in writers.values():
                await prints(writer, 5 * turn, 5, WIDE)
            await LogShares(bus).share()
            assert await size(hub) <= ROOM * log_shares.HIGH
    await the_quiet_have_all(hub)
    for source in writers:
        there, missing = await kept(hub, FLOOD, source)
        assert there == list(range(missing, 200)), f"{source} goes on after what is gone, to its last line"
        assert 0 < missing < 195
    assert await size(hub) > ROOM / 4, "no more is taken away than has to be"


@on_both_servers
async def test_who_floods_from_one_service_leaves_its_own_others_theirs(hub: Hub):
    await small(hub)
    loud, calm = (LogWriter(hub.witness, FLOOD, source, exclusive=True) for source in ("loud", "calm"))
    for number in range(30):
        await prints(calm, number, 1)
    async with hub.connected("orchestrator", "orchestrator/shares") as bus:
        for turn in range(150):
            await prints(loud, 5 * turn, 5, WIDE)
            if turn % 10 == 0:
                await LogShares(bus).share()
    assert await kept(hub, FLOOD, "calm") == (list(range(30)), 0)


@on_both_servers
async def test_a_tool_with_build_logs_without_end_loses_those_of_its_oldest_operations(hub: Hub):
    """Each has one chunk, and the newest chunk of a log stays as long as there is another way."""
    await small(hub)
    await said_little(hub)
    operations = [new_operation_id("admin", str(number)) for number in range(200)]
    async with hub.connected("orchestrator", "orchestrator/shares") as bus:
        for operation in operations:
            await prints(LogWriter(hub.witness, FLOOD, operation), 0, 5, WIDE)
            await LogShares(bus).share()
    await the_quiet_have_all(hub)
    lines = [await kept(hub, FLOOD, operation) for operation in operations]
    assert all(each == ([0, 1, 2, 3, 4], 0) for each in lines[-NEWEST_OPERATIONS:])
    assert lines == sorted(lines, key=lambda each: len(each[0])), "the oldest ones are gone"
    assert lines[0] == ([], 0)


@on_both_servers
async def test_a_service_that_prints_now_is_never_without_its_newest_chunk(hub: Hub):
    """It says where its writer stands; what is written expects it."""
    await small(hub)
    writers = [LogWriter(hub.witness, FLOOD, f"s{number}", exclusive=True) for number in range(90)]
    for writer in writers:
        await prints(writer, 0, 5, WIDE)
    async with hub.connected("orchestrator", "orchestrator/shares") as bus:
        assert await LogShares(bus).share() == 0
        for writer in writers[:5]:
            await prints(writer, 5, 5, WIDE)
        assert await LogShares(bus).share() == 5
    for number, writer in enumerate(writers):
        await prints(writer, 10 if number < 5 else 5, 1)


async def test_where_there_is_room_nothing_is_taken_away(hub: Hub):
    await small(hub)
    await said_little(hub)
    writer = LogWriter(hub.witness, FLOOD, "web", exclusive=True)
    turn = 0
    async with hub.connected("orchestrator", "orchestrator/shares") as bus:
        while await size(hub) < ROOM * log_shares.HIGH - 2 * len(WIDE) * 5:
            await prints(writer, 5 * turn, 5, WIDE)
            turn += 1
            assert await LogShares(bus).share() == 0
    assert await kept(hub, FLOOD, "web") == (list(range(5 * turn)), 0)


async def test_of_many_tools_no_more_chunks_are_looked_at_than_of_a_few(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log_shares, "LOOKS", 40)
    await small(hub)
    await said_little(hub)
    tools = [f"tool{number}-aaaaaa" for number in range(90)]
    for tool in tools:
        await prints(LogWriter(hub.witness, tool, "web"), 0, 4, WIDE)
    for turn in range(10):
        await prints(LogWriter(hub.witness, FLOOD, "web"), 5 * turn, 5, WIDE)
    async with hub.connected("orchestrator", "orchestrator/shares") as bus:
        looked: list[str] = []
        _note(bus, "next", looked, monkeypatch)
        _note(bus, "last", looked, monkeypatch)
        assert await LogShares(bus).share() > 0
    assert len(looked) <= 2 * 40 + 2 * 40
    await the_quiet_have_all(hub)


def _note(bus: Bus, name: str, looked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    really = getattr(bus, name)

    async def noted(*given: Any) -> Any:
        looked.append(name)
        return await really(*given)

    monkeypatch.setattr(bus, name, noted)


async def test_it_is_looked_by_itself_and_again_after_an_outage(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log_shares, "LOOK_AGAIN", 0.05)
    monkeypatch.setattr(log_shares, "PATIENCE", 1)
    await small(hub)
    await said_little(hub)
    async with hub.connected("orchestrator", "orchestrator/shares") as bus:
        looking = asyncio.create_task(LogShares(bus).run())
        try:
            for first in (0, 1):
                await _flood(hub, [f"s{number}" for number in range(8)], first)

                async def down() -> bool:
                    return await size(hub) <= ROOM * log_shares.LOW

                await eventually(down, "what is too much makes way", 60)
                await hub.server.kill()
                await hub.server.start()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
    await the_quiet_have_all(hub)


async def test_where_nothing_may_be_purged_the_next_look_waits_many_times_as_long_as_one_takes(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(log_shares, "LOOK_AGAIN", 0.01)
    monkeypatch.setattr(log_shares, "PATIENCE", 8)
    await small(hub)
    await _flood(hub, [f"s{number}" for number in range(8)], 0)
    config = (await hub.witness.jetstream.stream_info(LOGS.name)).config
    await hub.witness.jetstream.update_stream(config.evolve(deny_purge=True))
    clock, looks = asyncio.get_running_loop(), list[tuple[float, float]]()
    async with hub.connected("orchestrator", "orchestrator/shares") as bus:
        shares = LogShares(bus)
        share = LogShares.share

        async def timed(self: LogShares) -> int:
            began = clock.time()
            try:
                return await share(self)
            finally:
                looks.append((began, clock.time()))

        monkeypatch.setattr(LogShares, "share", timed)
        looking = asyncio.create_task(shares.run())
        try:
            await eventually(lambda: len(looks) >= 3, "it is looked three times", 60)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
    for (began, ended), (again, _) in pairwise(looks):
        assert again - ended >= min(8 * (ended - began), log_shares.LONGEST)


def _cleared() -> float:
    return REGISTRY.get_sample_value("machete_log_chunks_cleared_total") or 0.0


async def test_chunks_that_made_way_before_a_look_broke_off_are_counted(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    await small(hub)
    await _flood(hub, [f"s{number}" for number in range(8)], 0)
    before, there = _cleared(), (await hub.witness.jetstream.stream_info(LOGS.name)).state.messages
    async with hub.connected("orchestrator", "orchestrator/shares") as bus:
        ask, purges = bus.ask_jetstream, list[str]()

        async def ask_once(what: str, wanted: dict[str, object]) -> dict[str, Any]:
            if what.startswith("STREAM.PURGE"):
                purges.append(what)
                if len(purges) == 2:
                    raise NatsTimeout
            return await ask(what, wanted)

        monkeypatch.setattr(bus, "ask_jetstream", ask_once)
        with pytest.raises(NatsTimeout):
            await LogShares(bus).share()
    gone = there - (await hub.witness.jetstream.stream_info(LOGS.name)).state.messages
    assert _cleared() - before == gone > 0


async def _flood(hub: Hub, sources: Sequence[str], first: int) -> None:
    """To just above the height at which something has to go, and not beyond what there is room for."""
    writers = [LogWriter(hub.witness, FLOOD, source) for source in sources]
    while await size(hub) <= ROOM * log_shares.HIGH:
        for writer in writers:
            await prints(writer, first, 1, WIDE)
