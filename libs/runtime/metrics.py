"""The numbers of this process, for Prometheus: one registry, every metric declared here with the question it answers.

Labels come from small closed sets only: a route's template and never its path, an action, an outcome. What costs
something to find out is looked up when Prometheus asks, in `libs.runtime.scrape`.
"""

import asyncio
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from libs.contracts.problems import Failure
from libs.runtime.version import VERSION

Outcome = Literal["succeeded", "failed", "cancelled", "fenced", "retried", "discarded"]

# A second series for each counter, with the time of its first count: Prometheus would store it and nobody ask for it.
disable_created_metrics()

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

CONTENT_TYPE = CONTENT_TYPE_LATEST

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LONG = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


@dataclass(frozen=True)
class Declared:
    """`name` is the one in queries, without what a histogram adds to it; `question` is a person's on call."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    about: str
    labels: tuple[str, ...]
    question: str


DECLARED: list[Declared] = []


def _counter(name: str, about: str, *labels: str, answers: str) -> Counter:
    DECLARED.append(Declared(name, "counter", about, labels, answers))
    return Counter(name, about, labels, registry=REGISTRY)


def _gauge(name: str, about: str, *labels: str, answers: str) -> Gauge:
    DECLARED.append(Declared(name, "gauge", about, labels, answers))
    return Gauge(name, about, labels, registry=REGISTRY)


def _histogram(name: str, about: str, *labels: str, buckets: tuple[float, ...], answers: str) -> Histogram:
    DECLARED.append(Declared(name, "histogram", about, labels, answers))
    return Histogram(name, about, labels, buckets=buckets, registry=REGISTRY)


# Is it there and well?

build_info = _gauge(
    "machete_build_info",
    "1 for each service in this process, with the version that runs.",
    "service",
    "version",
    answers="Which services run, and which version?",
)
check_ok = _gauge(
    "machete_check_ok",
    "1 where a health check passes, 0 where not.",
    "service",
    "check",
    answers="What does a service miss that it needs?",
)
nats_connected = _gauge(
    "machete_nats_connected",
    "1 while a connection to NATS is up, by the service that has it and its NATS user.",
    "service",
    "user",
    answers="Is the bus there?",
)
nats_disconnects = _counter(
    "machete_nats_disconnects_total",
    "Connections to NATS that were lost.",
    "service",
    "user",
    answers="Is the bus shaky?",
)
publish_troubles = _counter(
    "machete_nats_publish_troubles_total",
    "Writes to a stream that went wrong: one try (`retried`), all of them (`unavailable`), or `refused` as it is full.",
    "service",
    "stream",
    "trouble",
    answers="Does JetStream take what it is given?",
)
stream_messages = _gauge(
    "machete_stream_messages",
    "Messages that a stream holds.",
    "stream",
    answers="What piles up, above all in COMMANDS, which holds what is to do?",
)
stream_bytes = _gauge(
    "machete_stream_bytes", "Bytes that a stream holds.", "stream", answers="Is a stream about to be full?"
)
stream_limit_bytes = _gauge(
    "machete_stream_limit_bytes", "Bytes that a stream may hold.", "stream", answers="Is a stream about to be full?"
)

# Is anything stuck?

commands_oldest = _gauge(
    "machete_commands_oldest_seconds",
    "Age of the oldest unfinished command, 0 where there is none.",
    "action",
    answers="Is anything stuck?",
)
queue_undelivered = _gauge(
    "machete_queue_undelivered_messages",
    "Messages of a consumer that were handed to nobody yet.",
    "consumer",
    answers="Does nobody take work on?",
)
queue_unacknowledged = _gauge(
    "machete_queue_unacknowledged_messages",
    "Messages of a consumer that workers have and are not done with.",
    "consumer",
    answers="How much do the workers of all processes have in hand?",
)
queue_askers = _gauge(
    "machete_queue_askers",
    "Open requests for work of a consumer; several of one worker where an older one has not run out.",
    "consumer",
    answers="Does nobody take work on?",
)
in_hand = _gauge(
    "machete_in_hand_messages",
    "Commands and tasks that this process has, running and waiting for their turn.",
    "consumer",
    answers="What waits for its tool or for a free place?",
)
running = _gauge(
    "machete_running_messages",
    "Commands and tasks that are being carried out in this process.",
    "consumer",
    answers="What is being done now?",
)
command_age = _histogram(
    "machete_command_age_seconds",
    "From a command's acceptance to a worker taking it on.",
    "service",
    "action",
    buckets=_LONG,
    answers="How old is a command when its work begins?",
)
build_wait = _histogram(
    "machete_build_wait_seconds",
    "How long a build waited for one of the slots that bound how many run at once.",
    buckets=_LONG,
    answers="Do builds wait for each other?",
)
deliveries = _counter(
    "machete_deliveries_total",
    "Messages received from a consumer, repeats included.",
    "consumer",
    "repeated",
    answers="Are messages handed out again, because workers die or fall silent?",
)
dead_letters = _counter(
    "machete_dead_letters_total",
    "Messages that nobody could handle and that are kept aside.",
    "stream",
    answers="Was anything given up?",
)
dead_letters_taken_out = _counter(
    "machete_dead_letters_taken_out_total",
    "Dead letters that an administrator retried or dropped.",
    "how",
    answers="Does anybody look after what was given up?",
)

# How do operations go?

commands_handled = _counter(
    "machete_commands_handled_total",
    "Commands and tasks a worker was done with.",
    "service",
    "action",
    "outcome",
    answers="What do workers do, and do they have to do it again (`retried`, `fenced`)?",
)
operation_seconds = _histogram(
    "machete_operation_seconds",
    "From an operation's acceptance to its end.",
    "kind",
    "outcome",
    buckets=_LONG,
    answers="How long do installs, starts and the rest take, and how often do they fail?",
)
operation_failures = _counter(
    "machete_operation_failures_total",
    "Operations that failed, by the code of their problem.",
    "kind",
    "code",
    answers="Why do operations fail?",
)
task_seconds = _histogram(
    "machete_task_seconds",
    "How long a task took that one service did for another.",
    "task",
    "outcome",
    buckets=_LONG,
    answers="Which part of an operation takes its time?",
)
tools = _gauge(
    "machete_tools", "Tools, by the state that is shown.", "state", answers="How many tools, in which state?"
)

repairs = _counter(
    "machete_repairs_total",
    "Starts of tools that should run and do not: what was `gone`, had `ended`, was `cut_off` from its network, or was "
    "`not_ready` after the last one.",
    "cause",
    answers="Does the platform have to start tools again that nobody asked it to?",
)
drifted = _gauge(
    "machete_tools_drifted",
    "Tools that should run and do not: to be started again (`waiting`), or `left` to somebody.",
    "standing",
    answers="What does not run although it should, and does anybody have to do something?",
)

# Does the engine answer?

engine_calls = _counter(
    "machete_engine_calls_total",
    "Calls to a Docker Engine; an outcome other than `succeeded` and `cancelled` is the code of the problem.",
    "call",
    "outcome",
    answers="Is the engine answering, and which calls fail?",
)
engine_seconds = _histogram(
    "machete_engine_call_seconds",
    "How long a call to a Docker Engine took.",
    "call",
    buckets=_FAST,
    answers="How slow is the engine?",
)

# What do people see?

http_requests = _counter(
    "machete_http_requests_total",
    "HTTP requests answered.",
    "service",
    "route",
    "method",
    "status",
    answers="Who asks for what, and what is refused?",
)
http_seconds = _histogram(
    "machete_http_request_seconds",
    "From a request's head to the end of its answer; long where a log is followed or an end is waited for.",
    "service",
    "route",
    "method",
    buckets=_FAST,
    answers="How long do people wait for an answer?",
)
websockets_open = _gauge(
    "machete_websockets_open", "WebSockets open now.", "service", "route", answers="How many look on, live?"
)
streams_turned_away = _counter(
    "machete_streams_turned_away_total",
    "Live connections and logs answered with 429 because who asked had as many open as one may.",
    answers="Does anybody open more and more of them?",
)
live_frames = _counter(
    "machete_live_frames_total",
    "Frames for WebSockets: an event, log lines, or a gap where something is no longer kept.",
    "kind",
    answers="Does what happens reach those who look on?",
)
projection_lag = _gauge(
    "machete_projection_lag_events",
    "Events stored and not yet in the projection.",
    "projection",
    answers="How old is what people see?",
)
database_errors = _counter(
    "machete_database_errors_total",
    "Transactions that a database refused or broke off.",
    "service",
    answers="Does the database work?",
)
log_lines = _counter(
    "machete_log_lines_total",
    "Lines stored, of operations and of tools.",
    "origin",
    answers="Who is talkative?",
)
log_lines_dropped = _counter(
    "machete_log_lines_dropped_total",
    "Lines of tools that came faster than they could be stored and were let go of; every reader is told how many.",
    answers="Does a tool print more than can be carried?",
)
log_lines_missed = _counter(
    "machete_log_lines_missed_total",
    "Lines that a reader asked for and that are no longer kept, or cannot be read.",
    "reader",
    answers="Are logs kept for long enough?",
)
log_chunks_cleared = _counter(
    "machete_log_chunks_cleared_total",
    "Chunks of lines that made way for others because their tool held more than its share of LOGS.",
    answers="Does a tool print so much that its history is cut short?",
)
agent_requests = _counter(
    "machete_agent_requests_total",
    "Requests of agents answered.",
    "door",
    "status",
    answers="What do agents ask for, and what are they refused?",
)
turned_away = _counter(
    "machete_commands_turned_away_total",
    "Requests answered with 429 because as many commands as may waited for the `tool`, of the `principal`, or in all "
    "(`platform`).",
    "scope",
    answers="Does anybody ask for more than is done, and is it one tool, one asker, or everybody?",
)
agent_refusals = _counter(
    "machete_agent_turned_away_total",
    "What was not answered at all: a reply subject not the agent's own, a strange subject, credentials nobody has; "
    "and, as `flood`, what an agent sent beyond its requests and refusals under way.",
    "reason",
    answers="Does anybody try doors that are not theirs, or flood the one they have?",
)


@contextmanager
def engine_call(call: str) -> Generator[None]:
    """Counts and times one call to an engine; a `Failure` is counted by its code, and whatever it is passes through."""
    began = time.perf_counter()
    outcome = "failed"
    try:
        yield
        outcome = "succeeded"
    except Failure as failure:
        outcome = failure.problem.code
        raise
    except asyncio.CancelledError:
        outcome = "cancelled"
        raise
    finally:
        engine_calls.labels(call, outcome).inc()
        engine_seconds.labels(call).observe(time.perf_counter() - began)


@contextmanager
def task(name: str) -> Generator[list[Outcome]]:
    """Times one task, if its outcome is put into the list."""
    began = time.perf_counter()
    outcome: list[Outcome] = []
    yield outcome
    for each in outcome:
        task_seconds.labels(name, each).observe(time.perf_counter() - began)


def command_taken(service: str, action: str, age: float) -> None:
    """A worker takes a command on, `age` seconds after it was accepted."""
    command_age.labels(service, action).observe(max(0.0, age))


def command_handled(service: str, action: str, outcome: Outcome) -> None:
    commands_handled.labels(service, action, outcome).inc()


def operation_ended(kind: str, outcome: Outcome, seconds: float, code: str | None = None) -> None:
    """An operation ended, `seconds` after it was accepted; `code` is that of its problem."""
    operation_seconds.labels(kind, outcome).observe(max(0.0, seconds))
    if outcome == "failed":
        operation_failures.labels(kind, code or "unknown").inc()


def delivered(consumer: str, deliveries_so_far: int) -> None:
    deliveries.labels(consumer, "yes" if deliveries_so_far > 1 else "no").inc()


def agent_answered(door: str, status: int) -> None:
    agent_requests.labels(door, status).inc()


def agent_turned_away(reason: Literal["reply", "subject", "credentials", "flood"]) -> None:
    agent_refusals.labels(reason).inc()


def runs_here(service: str) -> None:
    """This process has that service in it."""
    build_info.labels(service, VERSION).set(1)


def render() -> bytes:
    """Everything in Prometheus' text format, to be served as `CONTENT_TYPE`."""
    return generate_latest(REGISTRY)
