from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.orchestrator.domain.observations import ServiceObservation
from services.orchestrator.domain.tool_state import tool_state

UP = ServiceObservation("app", "running")
DATABASE = ServiceObservation("db", "running", "healthy")
ENDED_WELL = ServiceObservation("app", "exited", exit_code=0)
MIGRATION = ServiceObservation("migrate", "exited", exit_code=0, job=True)
KILLED = ServiceObservation("app", "exited", exit_code=137)
LOOPING = ServiceObservation("app", "restarting", exit_code=1, restarts=4)


def test_an_engine_that_does_not_answer_makes_every_state_unknown():
    assert tool_state("running", None) == ("unknown", "The Docker Engine does not answer.")
    assert tool_state("stopped", None, activity="building")[0] == "unknown"


def test_what_runs_as_it_should_is_running_without_a_reason():
    assert tool_state("running", [UP]) == ("running", None)
    assert tool_state("running", [UP, DATABASE]) == ("running", None)


def test_what_should_not_run_and_does_not_is_stopped():
    assert tool_state("stopped", []) == ("stopped", None)
    assert tool_state("stopped", [ServiceObservation("app", "created")]) == ("stopped", None)
    assert tool_state("stopped", [KILLED]) == ("stopped", None)


def test_a_one_shot_that_ended_with_0_is_healthy():
    assert tool_state("running", [UP, MIGRATION]) == ("running", None)
    assert tool_state("running", [MIGRATION]) == ("running", None)


def test_a_job_out_of_its_network_is_nothing_to_start_the_tool_again_for():
    """Nothing starts it again, and whether it needs the network shows in how it ends."""
    job = replace(MIGRATION, state="running", exit_code=None, cut_off=True)
    assert tool_state("running", [UP, job]) == ("running", None)
    assert tool_state("running", [UP, replace(job, job=False)])[0] == "degraded"


def test_a_server_that_ended_with_0_is_not_healthy():
    state, reason = tool_state("running", [ENDED_WELL])
    assert (state, reason) == ("failed", "app ended with exit code 0, though it should keep running.")
    assert tool_state("running", [ENDED_WELL, DATABASE])[0] == "degraded"


def test_a_one_shot_that_ended_badly_is_not_healthy():
    failed = replace(MIGRATION, exit_code=2)
    assert tool_state("running", [UP, failed]) == (
        "degraded",
        "migrate ended with exit code 2.",
    )


def test_what_dies_again_and_again_is_not_running_while_it_happens_to_be_up():
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    up = replace(UP, restarts=5, started_at=now - timedelta(seconds=20))
    assert tool_state("running", [up], seen_at=now) == (
        "degraded",
        "app was started again 5 times, last less than a minute ago: its log says why.",
    )
    for steady in (
        replace(up, restarts=4),
        replace(up, started_at=now - timedelta(seconds=60)),
        replace(up, started_at=None),
        replace(up, job=True),
    ):
        assert tool_state("running", [steady], seen_at=now) == ("running", None)


def test_a_container_killed_by_hand_is_a_failure_that_names_how_it_ended():
    assert tool_state("running", [KILLED]) == ("failed", "app ended with exit code 137 (killed).")


def test_a_container_that_vanished_is_a_failure_that_says_what_to_do():
    assert tool_state("running", []) == (
        "failed",
        "It should run, but its container is gone: start it again.",
    )


def test_want_of_memory_is_named():
    state, reason = tool_state("running", [replace(KILLED, oom=True)])
    assert (state, reason) == ("failed", "app was ended for want of memory (exit code 137).")


def test_a_crash_loop_is_a_failure_though_the_engine_keeps_trying():
    assert tool_state("running", [LOOPING]) == (
        "failed",
        "app ended with exit code 1 and is being restarted (4 times so far): its log says why.",
    )


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (ServiceObservation("app", "running", "unhealthy"), "app says that it is unhealthy."),
        (ServiceObservation("app", "paused"), "app is paused."),
    ],
)
def test_what_is_up_but_does_not_serve_is_degraded(service: ServiceObservation, reason: str):
    assert tool_state("running", [service]) == ("degraded", reason)


def test_a_health_check_that_has_not_spoken_yet_is_starting():
    assert tool_state("running", [replace(UP, health="starting")]) == ("starting", None)


def test_an_operation_shows_while_nothing_runs():
    assert tool_state("stopped", [], activity="installing") == ("pending", None)
    assert tool_state("stopped", [], activity="building") == ("building", None)
    assert tool_state("running", [UP], activity="starting") == ("starting", None)


def test_a_tool_that_serves_while_its_next_release_is_built_is_running():
    assert tool_state("running", [UP], activity="building") == ("running", None)


def test_what_runs_although_it_was_stopped_is_shown_as_it_is():
    assert tool_state("stopped", [UP]) == ("running", "It was started outside MACHETE.")
    assert tool_state("stopped", [UP], activity="stopping") == ("running", None)


def test_a_failure_stays_the_reason_until_something_runs():
    assert tool_state("stopped", [], failure="The build failed.") == ("failed", "The build failed.")
    assert tool_state("running", [UP], failure="The build failed.") == ("running", None)
