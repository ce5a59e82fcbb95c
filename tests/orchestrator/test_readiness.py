from dataclasses import replace

from services.orchestrator.domain.observations import ServiceObservation
from services.orchestrator.domain.readiness import (
    LONGEST_PAUSE,
    Answer,
    exit_sentence,
    late_sentence,
    pause_after,
    verdict,
)
from services.orchestrator.domain.specs import ContainerSpec

SPEC = ContainerSpec("abcd2345", "web-abc234", "r", "image", port=8080, health_check="/health", readiness=10.0)
UP = ServiceObservation("app", "running")
OPEN = Answer()
REFUSED = Answer(refusal="connection refused")


def test_only_200_from_the_health_check_is_ready():
    assert verdict(SPEC, UP, 0, Answer(status=200), 1.0) == "ready"
    assert verdict(SPEC, UP, 0, Answer(status=204), 1.0) == "wait"
    assert verdict(SPEC, UP, 0, Answer(status=503), 1.0) == "wait"
    assert verdict(SPEC, UP, 0, REFUSED, 1.0) == "wait"
    assert verdict(SPEC, UP, 0, None, 0.0) == "wait"


def test_without_a_health_check_an_open_port_is_ready():
    spec = replace(SPEC, health_check=None)
    assert verdict(spec, UP, 0, OPEN, 0.0) == "ready"
    assert verdict(spec, UP, 0, REFUSED, 0.0) == "wait"


def test_without_a_port_it_has_to_stay_up_for_a_second():
    spec = replace(SPEC, port=None)
    assert verdict(spec, UP, 0, None, 0.99) == "wait"
    assert verdict(spec, UP, 0, None, 1.0) == "ready"


def test_what_ended_is_not_waited_for():
    for state in ("exited", "restarting", "dead", "created"):
        assert verdict(SPEC, replace(UP, state=state), 0, None, 0.0) == "exited"


def test_an_engine_that_restarts_what_ends_does_not_hide_the_end():
    assert verdict(SPEC, replace(UP, restarts=1), 0, Answer(status=200), 1.0) == "exited"


def test_a_restart_long_before_the_waiting_does_not_count():
    assert verdict(SPEC, replace(UP, restarts=1), 1, Answer(status=200), 1.0) == "ready"


def test_past_the_deadline_it_is_late():
    assert verdict(SPEC, UP, 0, Answer(status=503), 10.0) == "late"
    assert verdict(SPEC, UP, 0, Answer(status=200), 10.0) == "ready"


def test_probes_begin_dense_and_end_sparse():
    pauses = [pause_after(attempt) for attempt in range(40)]
    assert pauses[0] == 0.005
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE


def test_a_late_tool_is_told_what_was_expected_and_what_was_seen():
    assert late_sentence(SPEC, "app", Answer(status=503).in_words(SPEC)) == (
        "app was not ready within 10 s: expected 200 from /health, last saw HTTP 503 from /health."
    )
    assert late_sentence(replace(SPEC, health_check=None), "app", REFUSED.in_words(SPEC)) == (
        "app was not ready within 10 s: expected an open port 8080, last saw connection refused on port 8080."
    )


def test_an_end_is_told_with_a_way_out():
    ended = replace(UP, state="exited", exit_code=0)
    assert exit_sentence(ended) == (
        "app ended with exit code 0 before it was ready: its command must stay in the foreground."
    )
    assert exit_sentence(replace(ended, exit_code=137, oom=True)) == (
        "app was ended for want of memory (exit code 137) before it was ready: give it more memory."
    )
    assert exit_sentence(replace(ended, exit_code=127)) == (
        "app ended with exit code 127 (its command was not found) before it was ready: its last lines say why."
    )
