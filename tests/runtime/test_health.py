"""Health: the worst news wins, and a check that hangs or breaks is bad news."""

import asyncio
from collections.abc import Sequence

import pytest

from libs.runtime import health, metrics
from libs.runtime.health import Check, Health, summary

NATS, NO_NATS = Check("nats", ok=True), Check("nats", ok=False, detail="no server answers")
NO_ENGINE = Check("engine", ok=False, detail="the engine is away", critical=False)


@pytest.mark.parametrize(
    ("checks", "status", "ready"),
    [
        ([NATS], "ok", True),
        ([], "ok", True),
        ([NATS, NO_ENGINE], "degraded", True),
        ([NO_NATS, NO_ENGINE], "down", False),
        ([NO_NATS], "down", False),
    ],
)
def test_the_worst_news_wins(checks: Sequence[Check], status: str, ready: bool) -> None:
    report = summary({"orchestrator": checks})
    assert (report.status, report.ready, report.live) == (status, ready, True)


def test_one_service_that_is_not_ready_makes_all_not_ready() -> None:
    report = summary({"gateway": [NATS], "status": [NO_NATS]})
    assert not report.ready
    assert (report.services["gateway"].ready, report.services["status"].ready) == (True, False)
    assert report.services["status"].checks["nats"].detail == "no server answers"


def test_a_detail_gives_no_credential_away() -> None:
    report = summary({"gateway": [Check("nats", ok=False, detail="nats://u:canary@host is away")]})
    assert "canary" not in report.model_dump_json()


async def answering(*checks: Check) -> Sequence[Check]:
    return checks


async def test_a_service_is_not_ready_before_it_has_started() -> None:
    subject = Health({"gateway": lambda: answering(NATS)})
    before = await subject.report()
    subject.started("gateway")
    after = await subject.report()
    assert (before.ready, before.services["gateway"].checks["start"].ok) == (False, False)
    assert after.ready


async def test_a_check_that_hangs_is_a_failed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PATIENCE", 0.05)

    async def hanging() -> Sequence[Check]:
        await asyncio.Event().wait()
        return ()

    subject = Health({"gateway": hanging, "status": lambda: answering(NATS)})
    subject.started("gateway")
    subject.started("status")
    report = await subject.report()
    assert not report.services["gateway"].ready
    assert report.services["status"].ready


async def test_a_check_that_breaks_is_a_failed_one() -> None:
    async def broken() -> Sequence[Check]:
        raise RuntimeError("canary")

    subject = Health({"gateway": broken})
    subject.started("gateway")
    report = await subject.report()
    assert not report.ready
    assert "canary" not in report.model_dump_json()


async def test_many_who_ask_at_once_cost_one_check() -> None:
    asked = 0

    async def counted() -> Sequence[Check]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        return (NATS,)

    subject = Health({"gateway": counted})
    subject.started("gateway")
    await asyncio.gather(*(subject.report() for _ in range(50)))
    assert asked == 1


async def test_one_who_stops_asking_does_not_spoil_it_for_the_others() -> None:
    async def slow() -> Sequence[Check]:
        await asyncio.sleep(0.05)
        return (NATS,)

    subject = Health({"gateway": slow})
    subject.started("gateway")
    first, second = asyncio.create_task(subject.report()), asyncio.create_task(subject.report())
    await asyncio.sleep(0.01)
    first.cancel()
    assert (await second).ready


async def test_checks_are_seen_in_the_metrics() -> None:
    subject = Health({"orchestrator": lambda: answering(NATS, NO_ENGINE)})
    subject.started("orchestrator")
    await subject.report()
    labels = {"service": "orchestrator", "check": "engine"}
    assert metrics.REGISTRY.get_sample_value("machete_check_ok", labels) == 0
