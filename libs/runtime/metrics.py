"""The numbers of this process, for Prometheus: one registry, every metric declared here.

Labels come from small closed sets only: a route's template and never its path, an action, an outcome.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

Outcome = Literal["succeeded", "failed", "cancelled", "fenced", "retried", "discarded"]

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

CONTENT_TYPE = CONTENT_TYPE_LATEST

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LONG = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)

http_requests = Counter(
    "machete_http_requests_total",
    "HTTP requests answered.",
    ["service", "route", "method", "status"],
    registry=REGISTRY,
)
http_seconds = Histogram(
    "machete_http_request_seconds",
    "From a request's head to the end of its answer.",
    ["service", "route", "method"],
    buckets=_FAST,
    registry=REGISTRY,
)
websockets_open = Gauge("machete_websockets_open", "WebSockets open now.", ["service", "route"], registry=REGISTRY)
commands_handled = Counter(
    "machete_commands_handled_total",
    "Commands and tasks a worker was done with.",
    ["service", "action", "outcome"],
    registry=REGISTRY,
)
command_age = Histogram(
    "machete_command_age_seconds",
    "From a command's acceptance to a worker taking it on.",
    ["service", "action"],
    buckets=_LONG,
    registry=REGISTRY,
)
operation_seconds = Histogram(
    "machete_operation_seconds",
    "From an operation's acceptance to its end.",
    ["kind", "outcome"],
    buckets=_LONG,
    registry=REGISTRY,
)
deliveries = Counter(
    "machete_deliveries_total",
    "Messages received from a consumer, repeats included.",
    ["consumer", "repeated"],
    registry=REGISTRY,
)
projection_lag = Gauge(
    "machete_projection_lag_events",
    "Events stored and not yet in the projection.",
    ["projection"],
    registry=REGISTRY,
)
engine_calls = Counter(
    "machete_engine_calls_total", "Calls to a Docker Engine.", ["call", "outcome"], registry=REGISTRY
)
engine_seconds = Histogram(
    "machete_engine_call_seconds",
    "How long a call to a Docker Engine took.",
    ["call"],
    buckets=_FAST,
    registry=REGISTRY,
)
check_ok = Gauge(
    "machete_check_ok", "1 where a health check passes, 0 where not.", ["service", "check"], registry=REGISTRY
)


@contextmanager
def engine_call(call: str) -> Generator[None]:
    """Counts and times one call to an engine; an exception is the outcome `failed` and passes through."""
    began = time.perf_counter()
    outcome = "failed"
    try:
        yield
        outcome = "succeeded"
    finally:
        engine_calls.labels(call, outcome).inc()
        engine_seconds.labels(call).observe(time.perf_counter() - began)


def command_taken(service: str, action: str, age: float) -> None:
    """A worker takes a command on, `age` seconds after it was accepted."""
    command_age.labels(service, action).observe(max(0.0, age))


def command_handled(service: str, action: str, outcome: Outcome) -> None:
    commands_handled.labels(service, action, outcome).inc()


def operation_ended(kind: str, outcome: Outcome, seconds: float) -> None:
    """An operation ended, `seconds` after it was accepted."""
    operation_seconds.labels(kind, outcome).observe(max(0.0, seconds))


def delivered(consumer: str, deliveries_so_far: int) -> None:
    deliveries.labels(consumer, "yes" if deliveries_so_far > 1 else "no").inc()


def render() -> bytes:
    """Everything in Prometheus' text format, to be served as `CONTENT_TYPE`."""
    return generate_latest(REGISTRY)
