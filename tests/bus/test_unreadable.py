"""No stored message may end a process: what cannot be read is passed over, and said in the log."""

from __future__ import annotations

from datetime import UTC, datetime

from libs.contracts.operations import OperationCancelled
from libs.contracts.subjects import STATE
from libs.runtime.bus.logs import LogWriter
from libs.runtime.bus.states import States
from tests.support.stage import staged

GOOD, BAD = "good-abcdef", "bad-abcdef"


def removed(tool: str) -> OperationCancelled:
    problem = {"code": "cancelled", "message": "Cancelled."}
    return OperationCancelled.model_validate(
        {
            "operation": "op-" + "a" * 26,
            "tool": tool,
            "fence": 1,
            "effect": "removed",
            "ended_at": datetime.now(UTC),
            "error": problem,
        }
    )


async def test_a_state_that_cannot_be_read_hides_no_other_and_is_overwritten_by_the_next():
    async with staged() as stage:
        bus = await stage.bus("orchestrator")
        states = States(bus)
        await bus.jetstream.publish(STATE.build({"tool": BAD}), b"no envelope")
        await states.record(removed(GOOD), 7)
        assert [recorded.tool for recorded in await states.all()] == [GOOD]
        assert await states.judged(BAD) == (None, 0)
        await states.record(removed(BAD), 9)
        assert await states.judged(BAD) == (None, 9)


async def test_a_log_goes_on_behind_a_chunk_that_cannot_be_read():
    async with staged() as stage:
        bus = await stage.bus("orchestrator")
        await bus.jetstream.publish(f"machete.log.v1.{GOOD}.app", b"no envelope")
        writer = LogWriter(bus, GOOD, "app")
        await writer.write(["after"])
        await writer.flush()
        assert writer.mark is None
        again = LogWriter(bus, GOOD, "app", exclusive=True)
        await again.write(["and again"])
        await again.flush()
