"""Metrics: what is counted, what is looked up when Prometheus asks, and that Prometheus can read it."""

import asyncio
import re
import stat
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from libs.contracts.problems import Failure
from libs.runtime import metrics, scrape
from libs.runtime.http import metrics_token
from libs.runtime.http.authentication import METRICS
from libs.runtime.metrics_reference import render_metrics_reference
from libs.runtime.scrape import Reading
from libs.runtime.variables import SettingsError
from tests.support.served import Served, served, service


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


def test_everything_is_in_prometheus_format_with_the_process_itself() -> None:
    families = {family.name for family in text_string_to_metric_families(metrics.render().decode())}
    assert {"machete_http_requests", "machete_operation_seconds", "process_resident_memory_bytes"} <= families


def test_names_say_what_is_counted_and_in_which_unit() -> None:
    for each in metrics.DECLARED:
        assert re.fullmatch(r"machete_[a-z_]+", each.name), each.name
        assert each.name.endswith("_total") == (each.kind == "counter"), each.name
        assert each.kind != "histogram" or each.name.endswith("_seconds"), each.name
        assert each.question.endswith("?"), each.name
        # What Prometheus itself adds.
        assert not {"job", "instance", "le"} & set(each.labels), each.name


def test_every_metric_is_declared_with_its_question_and_stands_in_the_reference() -> None:
    exposed = {
        family.name for family in text_string_to_metric_families(metrics.render().decode()) if "machete" in family.name
    }
    assert exposed == {each.name.removesuffix("_total") for each in metrics.DECLARED}
    reference = render_metrics_reference()
    assert [each.name for each in metrics.DECLARED if f"| `{each.name}` | {each.kind} |" not in reference] == []


def test_an_engine_call_is_counted_by_what_came_of_it_and_timed_however_it_ends() -> None:
    ends = {"broken": ConnectionError(), "conflict": Failure("conflict", "No."), "left": asyncio.CancelledError()}
    with metrics.engine_call("start"):
        pass
    for error in ends.values():
        with pytest.raises(type(error)), metrics.engine_call("start"):
            raise error
    for outcome in ("succeeded", "failed", "conflict", "cancelled"):
        assert value("machete_engine_calls_total", call="start", outcome=outcome) == 1, outcome
    assert value("machete_engine_call_seconds_count", call="start") == 4


def test_a_clock_set_back_makes_no_negative_time() -> None:
    before = value("machete_operation_seconds_sum", kind="install", outcome="succeeded")
    metrics.operation_ended("install", "succeeded", -5.0)
    metrics.command_taken("installer", "install", -5.0)
    assert value("machete_operation_seconds_sum", kind="install", outcome="succeeded") == before


def test_only_a_failed_operation_has_a_reason() -> None:
    metrics.operation_ended("uninstall", "cancelled", 1.0, "cancelled")
    metrics.operation_ended("uninstall", "failed", 1.0, "engine_away")
    assert value("machete_operation_failures_total", kind="uninstall", code="engine_away") == 1
    assert value("machete_operation_failures_total", kind="uninstall", code="cancelled") == 0


def test_a_task_that_broke_off_is_not_timed_and_one_that_ended_is() -> None:
    with pytest.raises(ConnectionError), metrics.task("sweep"):
        raise ConnectionError
    with metrics.task("sweep") as outcome:
        outcome.append("succeeded")
    counted = {
        each: value("machete_task_seconds_count", task="sweep", outcome=each) for each in ("succeeded", "failed")
    }
    assert counted == {"succeeded": 1, "failed": 0}


def test_a_repeated_delivery_is_told_apart() -> None:
    before = value("machete_deliveries_total", consumer="installer", repeated="yes")
    metrics.delivered("installer", 1)
    metrics.delivered("installer", 2)
    assert value("machete_deliveries_total", consumer="installer", repeated="yes") == before + 1


def backlog(name: str) -> float | None:
    return metrics.REGISTRY.get_sample_value("machete_stream_messages", {"stream": name})


async def test_what_is_looked_up_is_read_when_somebody_asks_and_gone_with_who_looked() -> None:
    async def look() -> Sequence[Reading]:
        return [(metrics.stream_messages, ("HERE",), 7)]

    with scrape.looked_up(look):
        assert backlog("HERE") is None
        assert b'machete_stream_messages{stream="HERE"} 7.0' in await scrape.answer()
    assert backlog("HERE") is None


async def test_a_number_that_cannot_be_looked_up_is_missing_and_not_old() -> None:
    there = True

    async def look() -> Sequence[Reading]:
        if not there:
            raise ConnectionError
        return [(metrics.stream_messages, ("SHAKY",), 7)]

    async def other() -> Sequence[Reading]:
        return [(metrics.stream_messages, ("FIRM",), 1)]

    with scrape.looked_up(look), scrape.looked_up(other):
        await scrape.answer()
        there = False
        await scrape.answer()
        assert (backlog("SHAKY"), backlog("FIRM")) == (None, 1)
        there = True
        await scrape.answer()
        assert backlog("SHAKY") == 7


async def test_who_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "PATIENCE", 0.05)
    asked = 0

    async def hang() -> Sequence[Reading]:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        return []

    with scrape.looked_up(hang):
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*(scrape.answer() for _ in range(5)))
    assert all(b"machete_build_info" in answer for answer in answers)
    assert asked == 1


@pytest.fixture
async def untold(tmp_path: Path) -> AsyncGenerator[Served]:
    """A process in which no service can tell who asks, as an installer alone."""
    async with served(service("installer", authenticate=None), data=tmp_path) as platform:
        yield platform


async def test_prometheus_is_let_in_where_nobody_can_tell_who_asks(untold: Served, tmp_path: Path) -> None:
    token = metrics_token.ensure(tmp_path)
    shown = {"authorization": f"Bearer {token}"}
    answer = await untold.stranger.get(METRICS, headers=shown)
    assert answer.status_code == 200
    assert 'machete_build_info{service="installer"' in answer.text
    for other in ("/api/docs", "/metrics/", "/"):
        assert (await untold.stranger.get(other, headers=shown)).status_code == 401
    for wrong in ("", "Bearer", "Bearer wrong", f"Basic {token}", f"Bearer {token}x"):
        assert (await untold.stranger.get(METRICS, headers={"authorization": wrong})).status_code == 401


def test_the_token_is_made_once_and_kept(tmp_path: Path) -> None:
    token = metrics_token.ensure(tmp_path)
    assert metrics_token.ensure(tmp_path) == token
    assert stat.S_IMODE((tmp_path / metrics_token.NAME).stat().st_mode) == 0o600
    (tmp_path / metrics_token.NAME).chmod(0o640)
    assert metrics_token.ensure(tmp_path) == token, "a group may read it"
    assert [each.name for each in tmp_path.iterdir()] == [metrics_token.NAME]


@pytest.mark.parametrize(("text", "mode"), [("short", 0o600), ("x" * 40, 0o644), ("no token: " + "x" * 40, 0o600)])
def test_a_token_that_is_weak_or_open_to_all_stops_the_start(tmp_path: Path, text: str, mode: int) -> None:
    path = tmp_path / metrics_token.NAME
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(SettingsError, match=r"metrics\.token"):
        metrics_token.ensure(tmp_path)
