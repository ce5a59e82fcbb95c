"""When is a tool that should run started again, and when is it left to somebody?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import pytest

from libs.contracts.manifest_values import Restart
from libs.contracts.releases import StackService
from libs.contracts.tools import Repairs, Tool, ToolState
from services.orchestrator.domain.drift import Backoff, Drift, drift, judged
from services.orchestrator.domain.observations import ContainerState, Observation, ServiceObservation
from services.orchestrator.domain.plan import whole
from tests.bus import sketch

NOW = datetime(2031, 5, 6, 12, 0, 0, tzinfo=UTC)
BACKOFF = Backoff(first=10, most=100, settled=600)
RESTARTS: tuple[Restart, ...] = ("always", "unless-stopped", "on-failure", "no")


def a_tool(
    restart: Restart = "unless-stopped",
    repairs: Repairs | None = None,
    services: Mapping[str, int] = MappingProxyType({}),
) -> Tool:
    """One that should run; of one container, or a stack of these services with so many replicas each."""
    plain = sketch.tool("lathe-abcdef", "lathe", ToolState.RUNNING)
    manifest = plain.release.manifest.model_copy(update={"restart": restart})
    several = tuple(StackService(name=name, image="x", replicas=count) for name, count in services.items())
    release = plain.release.model_copy(update={"manifest": manifest, "services": several})
    kind = "stack" if services else "container"
    return plain.model_copy(update={"release": release, "kind": kind, "repairs": repairs, "since": NOW})


def app(
    state: ContainerState = "running", code: int | None = None, name: str = "app", **more: Any
) -> ServiceObservation:
    return ServiceObservation(name, state, exit_code=code, container_id=f"id-{name}", **more)


def seen(*services: ServiceObservation) -> Observation:
    return Observation("lathe-abcdef", services, NOW)


def tried(times: int, ago: float = 0, **more: Any) -> Repairs:
    return Repairs(tries=times, last=NOW - timedelta(seconds=ago), **more)


def found(tool: Tool, *services: ServiceObservation, by_hand: set[str] | None = None) -> Drift:
    answer = drift(tool, seen(*services), by_hand or set(), BACKOFF)
    assert answer is not None
    return answer


# As it should be.


@pytest.mark.parametrize(
    "service",
    [
        app(),
        app(health="unhealthy"),
        app("restarting", 1, restarts=3),
        app("paused"),
        app("removing"),
        app("exited", 0, job=True),
        app("exited", 1, job=True),
    ],
    ids=lambda each: f"{each.state}-{each.health}-{each.job}",
)
def test_what_runs_what_the_engine_starts_again_what_somebody_is_at_work_on_and_jobs_are_left_to_themselves(
    service: ServiceObservation,
):
    assert drift(a_tool(), seen(service), set(), BACKOFF) is None


def test_what_should_not_run_is_never_started():
    tool = a_tool().model_copy(update={"desired": "stopped"})
    for services in ((), (app("exited", 1),), (app("exited", 1), app("missing", name="db"))):
        assert drift(tool, seen(*services), set(), BACKOFF) is None


# Who starts what again, by what the manifest says.


@pytest.mark.parametrize("restart", ["always", "unless-stopped", "on-failure"])
@pytest.mark.parametrize(
    "services", [(), (app("exited", 255),), (app("created"),), (app("dead", 1),)], ids=["gone", "ended", "new", "dead"]
)
def test_what_the_engine_does_not_start_again_is_started_at_once(
    restart: Restart, services: tuple[ServiceObservation, ...]
):
    it = found(a_tool(restart), *services)
    assert (it.due, it.tries, it.undone, it.why) == (NOW, 0, 0, "")


@pytest.mark.parametrize(("restart", "again"), [("always", True), ("unless-stopped", True), ("on-failure", False)])
def test_an_end_with_0_is_an_end_on_failure_alone(restart: Restart, again: bool):
    it = found(a_tool(restart), app("exited", 0))
    assert (it.due is not None) is again
    shown = judged(a_tool(restart), seen(app("exited", 0)), it)
    assert shown.state == (ToolState.FAILED if again else ToolState.STOPPED)
    if not again:
        assert shown.reason == "app ended with exit code 0, and its manifest says `restart: on-failure`."


def test_want_of_memory_is_a_failure_whatever_the_exit_code():
    assert found(a_tool("on-failure"), app("exited", 0, oom=True)).due == NOW


def test_a_manifest_that_says_no_is_obeyed():
    for services in ((), (app("exited", 1),)):
        it = found(a_tool("no"), *services)
        assert it.due is None
        assert it.why == "It is left so, for its manifest says `restart: no`: start it again, or stop it."


# Somebody's hand.


@pytest.mark.parametrize(("restart", "undone"), [*zip(RESTARTS, (True, False, False, False), strict=True)])
def test_what_somebody_stopped_is_left_so_unless_the_manifest_says_always(restart: Restart, undone: bool):
    it = found(a_tool(restart), app("exited", 137), by_hand={"id-app"})
    assert (it.due, it.undone) == ((NOW, 1) if undone else (None, 0))
    if not undone:
        assert it.why == "It was stopped by hand, outside MACHETE. It is left so: start it again, or stop it."


@pytest.mark.parametrize(("restart", "undone"), [*zip(RESTARTS, (True, True, True, False), strict=True)])
def test_what_somebody_removed_is_made_again_once(restart: Restart, undone: bool):
    it = found(a_tool(restart), by_hand={"id-before"})
    assert (it.due, it.undone) == ((NOW, 1) if undone else (None, 0))


@pytest.mark.parametrize("restart", ["always", "unless-stopped", "on-failure"])
@pytest.mark.parametrize(
    ("services", "hand", "how"),
    [((), {"id-before"}, "removed"), ((app("exited", 137),), {"id-app"}, "stopped")],
    ids=["removed", "stopped"],
)
def test_who_does_it_a_second_time_has_his_way(
    restart: Restart, services: tuple[ServiceObservation, ...], hand: set[str], how: str
):
    """However long ago the first time was."""
    it = found(a_tool(restart, tried(1, 10**6, undone=1)), *services, by_hand=hand)
    assert it.due is None
    assert f"It was {how} by hand after it had been started again unasked." in it.why


def test_of_a_stack_nothing_is_started_while_something_is_left_so():
    """Compose would start all of it."""
    stack = a_tool(services={"web": 1, "db": 1})
    it = found(stack, app("exited", 0, "db"), by_hand={"id-db"})
    assert it.due is None
    assert it.why.startswith("db was stopped by hand")


def test_who_cancelled_the_start_has_his_way():
    it = found(a_tool(repairs=tried(1, left=True)), app("exited", 1))
    assert it.due is None
    assert "cancelled" in it.why


# Pauses.


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_pauses_grow_up_to_the_longest(jitter: float):
    pauses = [BACKOFF.pause(tries, jitter) for tries in range(1, 40)]
    growing, longest = pauses[:5], pauses[5:]
    assert all(later > sooner * 1.2 for sooner, later in pairwise(growing))
    assert all(8 * (2**number) <= each <= 10 * (2**number) for number, each in enumerate(pauses[:4]))
    assert all(80 <= each <= 100 for each in longest)
    assert BACKOFF.pause(0, jitter) == 0
    assert BACKOFF.pause(10**6, jitter) <= 100


def test_tools_that_fell_together_do_not_rise_together():
    dues = set[datetime | None]()
    for number in range(20):
        tool = a_tool(repairs=tried(4)).model_copy(update={"id": f"tool-{number}-abcdef"})
        dues.add(found(tool, app("exited", 1)).due)
    assert len(dues) > 10


def test_the_gaps_between_tries_grow_while_it_keeps_failing():
    """With a clock of our own: each try is made when it is due, and fails."""
    tool, now, gaps = a_tool(), NOW, list[float]()
    for _ in range(8):
        it = drift(tool, Observation(tool.id, (app("exited", 1),), now), set(), BACKOFF)
        assert it is not None
        assert it.due is not None
        gaps.append((it.due - now).total_seconds())
        now = it.due
        tool = tool.model_copy(update={"repairs": Repairs(tries=it.tries + 1, last=now, problem="No.")})
    assert gaps[0] == 0
    assert all(later > sooner for sooner, later in pairwise(gaps[:5]))
    assert max(gaps) <= 100


def test_a_clock_that_is_set_back_puts_no_try_off():
    for ago in (-10, -86_400):
        it = found(a_tool(repairs=tried(3, ago, problem="No.")), app("exited", 1))
        assert it.due is not None
        assert it.due - NOW <= 2 * timedelta(seconds=BACKOFF.pause(3, 0))
    assert it.due == NOW


def after(run: float, **more: Any) -> ServiceObservation:
    """One that ended just now, having run for so many seconds."""
    return app("exited", 1, started_at=NOW - timedelta(seconds=run), finished_at=NOW, **more)


def test_a_tool_that_has_stayed_up_begins_anew():
    tool = a_tool(repairs=tried(5, 10**6))
    soon, later = (found(tool, after(run)) for run in (599, 601))
    assert (soon.tries, later.tries) == (5, 0)
    assert later.due is not None
    assert later.due <= NOW


def test_a_stack_has_stayed_up_as_long_as_what_ended_first():
    stack = a_tool(services={"web": 1, "db": 1}, repairs=tried(5, 10**6))
    assert found(stack, after(10**5, name="web"), after(5, name="db")).tries == 5
    assert found(stack, after(10**5, name="web"), app(name="db")).tries == 0


def test_one_that_is_gone_has_stayed_up_if_it_was_seen_to_be_gone_later_than_by_the_pause_alone():
    pause = BACKOFF.pause(5, 0)
    assert [found(a_tool(repairs=tried(5, 600 + ago))).tries for ago in (pause - 1, pause + 1)] == [5, 0]


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "ended"])
def test_a_tool_that_falls_a_second_after_each_start_is_started_hardly_more_than_48_times_a_day(is_gone: bool):
    """By the defaults, and after those of the beginning; looked at whenever something happens, or is due."""
    tool, now, starts = a_tool(), NOW, list[datetime]()
    while now < NOW + timedelta(days=2):
        fell = starts[-1] + timedelta(seconds=1) if starts else NOW
        fallen = () if is_gone else (replace(after(1), started_at=fell - timedelta(seconds=1), finished_at=fell),)
        it = drift(tool, Observation(tool.id, fallen, now), set(), Backoff())
        assert it is not None
        assert it.due is not None
        if it.due > now:
            now = it.due
            continue
        starts.append(now)
        tool = tool.model_copy(update={"repairs": Repairs(tries=it.tries + 1, last=now)})
        now += timedelta(seconds=1)
    second_day = [each for each in starts if each > NOW + timedelta(days=1)]
    assert len(second_day) <= 48 / 0.8  # a fifth of each pause may be taken away


def test_one_that_could_not_be_started_has_not_stayed_up():
    it = found(a_tool(repairs=tried(5, 10**6, problem="The port is taken.")), app("exited", 1))
    assert it.tries == 5


def test_one_that_came_up_but_did_not_get_ready_is_looked_at_again_and_shown_as_degraded():
    tool = a_tool(repairs=tried(2, problem="app was not ready within 60 s."))
    it = found(tool, app())
    assert (it.cause, it.tries) == ("not_ready", 2)
    shown = judged(tool, seen(app()), it)
    assert shown.state is ToolState.DEGRADED
    assert shown.reason is not None
    assert shown.reason.startswith("It could not be started again: app was not ready within 60 s.")
    assert drift(tool, seen(app("restarting", 1)), set(), BACKOFF) is None


def test_a_pause_is_told_with_its_end_and_the_number_of_the_try():
    tool = a_tool(repairs=tried(1, problem="Port 80 is taken."))
    it = found(tool, app("exited", 1))
    assert it.due is not None
    shown = judged(tool, seen(app("exited", 1)), it)
    assert shown.reason == (
        "app ended with exit code 1. It could not be started again: Port 80 is taken. "
        f"Try 2 to start it again follows at {it.due:%H:%M:%S} UTC."
    )


# Networks.


@pytest.mark.parametrize("services", [(app(cut_off=True),), (app(), app(name="db", cut_off=True))], ids=len)
def test_what_was_taken_out_of_its_network_is_started_again_and_told(services: tuple[ServiceObservation, ...]):
    tool = a_tool()
    it = found(tool, *services)
    assert (it.cause, it.due) == ("cut_off", NOW)
    shown = judged(tool, seen(*services), it)
    assert shown.state is ToolState.DEGRADED
    assert shown.reason == f"{services[-1].name} was taken out of its network: start the tool again."


def test_what_was_taken_out_of_its_network_is_left_and_told_where_nothing_is_to_be_started_again():
    tool = a_tool("no")
    it = found(tool, app(cut_off=True))
    assert (it.cause, it.due) == ("cut_off", None)
    assert "It is left so, for its manifest says `restart: no`" in (
        judged(tool, seen(app(cut_off=True)), it).reason or ""
    )


def test_what_is_taken_out_of_its_network_again_and_again_is_waited_for():
    it = found(a_tool(repairs=tried(2)), app(cut_off=True))
    assert it.tries == 2
    assert it.due is not None
    assert it.due > NOW


def test_a_job_that_is_over_needs_no_network():
    assert drift(a_tool(), seen(app(), app("exited", 0, name="job", job=True, cut_off=True)), set(), BACKOFF) is None


# Replicas.


def names_of(tool: Tool, *services: ServiceObservation) -> list[tuple[str, str]]:
    return [(each.name, each.state) for each in whole(tool, services)]


def test_a_replica_that_is_missing_is_missed():
    stack = a_tool(services={"web": 3, "db": 1})
    web, third = app(name="web", service="web"), app(name="web-3", service="web")
    assert names_of(stack, web, third) == [
        ("db", "missing"),
        ("web", "running"),
        ("web-2", "missing"),
        ("web-3", "running"),
    ]
    assert found(stack, web, third).cause == "gone"


def test_a_replica_that_compose_made_anew_under_another_number_is_none_too_many():
    web = (app(name="web-2", service="web"), app(name="web-3", service="web"))
    assert names_of(a_tool(services={"web": 2}), *web) == [("web-2", "running"), ("web-3", "running")]


def test_a_service_called_like_a_replica_of_another_is_not_taken_for_one():
    stack = a_tool(services={"web": 2, "web-2": 1})
    web, other = app(name="web", service="web"), app(name="web-2", service="web-2")
    assert ("web-3", "missing") in names_of(stack, web, other)
    assert found(stack, web, other).due == NOW
