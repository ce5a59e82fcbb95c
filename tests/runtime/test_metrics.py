"""Metrics: what is counted, and that Prometheus can read it."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from libs.runtime import metrics


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


def test_everything_is_in_prometheus_format_with_the_process_itself() -> None:
    families = {family.name for family in text_string_to_metric_families(metrics.render().decode())}
    assert {"machete_http_requests", "machete_operation_seconds", "process_resident_memory_bytes"} <= families


def test_an_engine_call_is_counted_and_timed_however_it_ends() -> None:
    before = value("machete_engine_calls_total", call="start", outcome="failed")
    with metrics.engine_call("start"):
        pass
    with pytest.raises(ConnectionError), metrics.engine_call("start"):
        raise ConnectionError
    assert value("machete_engine_calls_total", call="start", outcome="succeeded") >= 1
    assert value("machete_engine_calls_total", call="start", outcome="failed") == before + 1
    assert value("machete_engine_call_seconds_count", call="start") >= 2


def test_a_clock_set_back_makes_no_negative_time() -> None:
    before = value("machete_operation_seconds_sum", kind="install", outcome="succeeded")
    metrics.operation_ended("install", "succeeded", -5.0)
    metrics.command_taken("installer", "install", -5.0)
    assert value("machete_operation_seconds_sum", kind="install", outcome="succeeded") == before


def test_a_repeated_delivery_is_told_apart() -> None:
    before = value("machete_deliveries_total", consumer="installer", repeated="yes")
    metrics.delivered("installer", 1)
    metrics.delivered("installer", 2)
    assert value("machete_deliveries_total", consumer="installer", repeated="yes") == before + 1
