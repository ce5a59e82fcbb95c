"""Services agree on the time, whatever the clock of one of them shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from libs.contracts.streams import EVENTS
from libs.runtime.bus.clock import TOLERATED, Clock, ticks
from tests.bus.hub import Hub, on_both_servers
from tests.support.clocks import set_apart

NEAR = timedelta(seconds=TOLERATED)


def now() -> datetime:
    return datetime.now(UTC)


def test_it_is_the_machine_s_own_where_nobody_said_another() -> None:
    before = now()
    assert before <= Clock().now() <= now()


def test_it_is_the_machine_s_own_where_that_is_right() -> None:
    """What is told takes its way, and two services of one machine are to show the same."""
    clock = Clock()
    clock.heard(now() - 0.5 * NEAR, ticks(), ticks())
    before = now()
    assert before <= clock.now() <= now()


@pytest.mark.parametrize("by", [timedelta(hours=1), timedelta(hours=-1), timedelta(seconds=3)], ids=str)
def test_it_is_nats_s_where_the_machine_s_is_wrong(by: timedelta) -> None:
    clock, before = Clock(), now()
    clock.heard(before + by, ticks() - 0.1, ticks())
    assert before + by <= clock.now() <= now() + by + timedelta(seconds=0.1)


def test_it_goes_on_while_the_machine_s_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    clock.heard(now(), ticks(), ticks())
    for by in (timedelta(days=1), timedelta(days=-1)):
        set_apart(monkeypatch, by)
        assert abs(clock.now() - now()) < NEAR


def test_an_answer_that_was_long_on_its_way_is_no_time() -> None:
    clock = Clock()
    clock.heard(now() + timedelta(hours=1), ticks() - 2 * TOLERATED, ticks())
    assert abs(clock.now() - now()) < NEAR


@on_both_servers
async def test_nats_tells_each_service(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    set_apart(monkeypatch, timedelta(hours=1))
    for user in ("gateway", "installer", "orchestrator", "status"):
        async with hub.connected(user, f"{user}/late") as bus:
            assert bus.clock.now() - now() > NEAR
            await bus.ask_time(EVENTS)
            assert abs(bus.clock.now() - now()) < NEAR
