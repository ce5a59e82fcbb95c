"""Is a stack ready, and if not, whose fault is it?"""

from typing import Any

import pytest

from services.orchestrator.domain.observations import ServiceObservation
from services.orchestrator.domain.readiness import exit_sentence
from services.orchestrator.domain.stacks import readiness

LONG, JUST_NOW = 5.0, 0.1


def seen(state: Any = "running", **more: Any) -> ServiceObservation:
    return ServiceObservation("web", state, **more)


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (seen(), "ready"),
        (seen(job=True), "ready"),
        (seen(health="starting"), "wait"),
        (seen(health="starting", job=True), "wait"),
        (seen(health="healthy"), "ready"),
        (seen(health="unhealthy"), "unhealthy"),
        (seen("created"), "wait"),
        (seen("paused"), "wait"),
        (seen("exited", exit_code=0), "exited"),
        (seen("exited", exit_code=0, job=True), "ready"),
        (seen("exited", exit_code=1, job=True), "exited"),
        (seen("exited", exit_code=0, oom=True, job=True), "exited"),
        (seen("restarting", exit_code=1), "exited"),
        (seen("dead", exit_code=1), "exited"),
        (seen(restarts=3), "exited"),
        (seen(restarts=3, retries=True), "ready"),
        (seen("restarting", exit_code=1, restarts=3, retries=True), "wait"),
        (seen("restarting", exit_code=1, restarts=7, retries=True), "exited"),
        (seen(restarts=7, retries=True), "exited"),
        (seen("exited", exit_code=1, restarts=3, retries=True), "exited"),
    ],
    ids=repr,
)
def test_what_is_seen_of_a_service_says_what_to_do(service: ServiceObservation, expected: readiness.Verdict):
    assert readiness.verdict(service, 2, LONG) == expected


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (seen(), "wait"),
        (seen(job=True), "wait"),
        (seen(health="healthy"), "ready"),
        (seen("exited", exit_code=1), "exited"),
        (seen("exited", exit_code=0, job=True), "ready"),
    ],
    ids=repr,
)
def test_what_has_just_come_up_is_no_news_yet(service: ServiceObservation, expected: readiness.Verdict):
    assert readiness.verdict(service, 2, JUST_NOW) == expected


def test_restarts_from_before_do_not_count():
    assert readiness.verdict(seen(restarts=2), 2, LONG) == "ready"


def test_of_several_failures_the_one_is_blamed_that_others_wait_for():
    verdicts: dict[str, readiness.Verdict] = {"web": "exited", "app": "unhealthy", "db": "exited", "cache": "wait"}
    assert readiness.worst(verdicts, ["cache", "db", "app", "web"]) == "db"
    assert readiness.worst(verdicts, []) in ("web", "app", "db")
    assert readiness.worst({"cache": "wait"}, ["cache"]) is None


@pytest.mark.parametrize(
    ("service", "words"),
    [
        (seen("exited", exit_code=3), "web ended with exit code 3: its last lines say why."),
        (seen("exited", exit_code=0), 'stay in the foreground, or say `restart: "no"`'),
        (seen("exited", exit_code=137, oom=True), "for want of memory (exit code 137): give it more memory."),
        (seen("exited", exit_code=137), "give it more memory (mem_limit) if that is why"),
        (seen("exited", exit_code=127), "(its command was not found)"),
    ],
    ids=str,
)
def test_an_end_is_told_with_a_way_out(service: ServiceObservation, words: str):
    assert words in exit_sentence(service, of_stack=True)


def test_the_others_are_told_by_name_too():
    assert readiness.unhealthy_sentence(seen(), "no route") == (
        "web is unhealthy by its own health check, which last said: no route."
    )
    assert readiness.unhealthy_sentence(seen(), "") == "web is unhealthy by its own health check."
    assert readiness.late_sentence([seen(health="starting"), seen("created")], 2.0) == (
        "The stack was not ready within 2 s: web is starting, web is created. Say machete.readiness_timeout if it "
        "needs longer."
    )


def test_of_the_runtime_s_words_the_last_ones_are_told():
    said = (
        "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create "
        'failed: unable to start container process: exec: "/x": stat /x: no such file or directory: unknown'
    )
    assert readiness.unstartable_sentence("web", said) == (
        'web could not be started: exec: "/x": stat /x: no such file or directory: check its command, user and mounts '
        "in the Compose file."
    )
    assert "started: no such device: check" in readiness.unstartable_sentence("web", "no such device.")
