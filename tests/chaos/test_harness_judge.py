"""The harness's own judge and mix: each kind of broken history is found, a whole one is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest

from libs.contracts.operations import Kind
from tests.chaos.harness.history import (
    Asked,
    Complaint,
    Fault,
    Found,
    History,
    Kept,
    Left,
    Said,
    Shown,
    ShownOperation,
    Stored,
    read,
    written,
)
from tests.chaos.harness.judge import judged, recoveries
from tests.chaos.harness.mix import WEIGHTS, mixed

HERE, GONE = "here-aaaaaa", "gone-bbbbbb"


def whole() -> History:
    """`here` was installed and started, which took two attempts; `gone` was uninstalled, its data kept."""
    history = History()
    history.add(
        Asked(0, 1, "install", "here", "k0", 1, 2, "op-a", HERE),
        Asked(1, 1, "start", "here", "k1", 3, 4, "op-b", HERE),
        Asked(2, 1, "start", "here", "k1", 5, 6, "op-b", HERE),
        Asked(3, 2, "install", "gone", "k3", 1, 2, "op-c", GONE),
        Asked(4, 2, "uninstall", "gone", "k4", 3, 4, "op-d", GONE),
        Asked(5, 2, "stop", "gone", "k5", 5, 6, refusal="tool_not_found"),
        *(Stored(number, f"op-{name}", tool, "?") for number, (name, tool) in enumerate(COMMANDS, 1)),
        *life("op-a", HERE, 1, state="stopped"),
        Said(11, 1.1, "op-b", HERE, "accepted", kind="start"),
        Said(12, 1.2, "op-b", HERE, "started"),
        Said(13, 1.3, "op-b", HERE, "started"),
        Said(14, 1.4, "op-b", HERE, "succeeded", fence=13, effect="changed", state="running", wants=True),
        *life("op-c", GONE, 20, state="stopped"),
        *life("op-d", GONE, 30, effect="removed"),
        Kept(HERE, 14, "running", True),
        Kept(GONE, 32, None),
        Found("container", "c", HERE, running=True),
        Found("network", "n", HERE),
        Found("volume", "v", GONE),
        Fault("kill", "orchestrator", 0.5, 1.0),
        *(Shown(replica, HERE, "running", True) for replica in ("status", "status-2")),
        *(ShownOperation(replica, f"op-{name}", "succeeded") for replica in ("status", "status-2") for name in "abcd"),
    )
    return history


COMMANDS = (("a", HERE), ("b", HERE), ("c", GONE), ("d", GONE))


def life(
    operation: str, tool: str, first: int, *, effect: str = "changed", state: str | None = None
) -> tuple[Said, Said, Said]:
    return (
        Said(first, first / 10, operation, tool, "accepted", kind="install"),
        Said(first + 1, first / 10, operation, tool, "started"),
        Said(first + 2, first / 10, operation, tool, "succeeded", fence=first + 1, effect=effect, state=state),
    )


def test_a_history_in_which_all_is_well_has_no_findings() -> None:
    assert judged(whole()) == []


def test_a_history_is_read_as_it_was_written() -> None:
    assert read(written(whole())) == whole()


def without(history: History, *sequences: int) -> None:
    history.said = [said for said in history.said if said.sequence not in sequences]


def at(history: History, place: int, /, **changes: object) -> None:
    history.said = [
        replace(said, **changes) if said.sequence == place else said  # pyright: ignore[reportArgumentType]
        for said in history.said
    ]


BREAKS: dict[str, Callable[[History], None]] = {
    "accepted and lost": lambda history: without(history, 11, 12, 13, 14),
    "never ended": lambda history: without(history, 14),
    "ended twice": lambda history: history.add(
        Said(15, 1.5, "op-b", HERE, "succeeded", fence=12, effect="changed", state="running", wants=True)
    ),
    "not accepted once": lambda history: without(history, 11),
    "end of a fenced-off owner": lambda history: at(history, 14, fence=12),
    "goes on after its end": lambda history: history.add(Said(15, 1.5, "op-b", HERE, "cancel-requested")),
    "cancelled by nobody": lambda history: at(history, 14, what="failed", code="cancelled"),
    "one key, several operations": lambda history: history.add(
        Asked(6, 3, "uninstall", "gone", "k4", 1, 2, "op-b", HERE)
    ),
    "state not recorded": lambda history: setattr(history, "kept", [Kept(HERE, 3, "stopped"), history.kept[1]]),
    "state of nothing": lambda history: history.add(Kept("never-cccccc", 1, "stopped")),
    "not its containers": lambda history: history.add(Found("container", "c2", HERE)),
    "recorded is not so": lambda history: setattr(history, "found", [Found("container", "c", HERE), history.found[2]]),
    "left of a tool that is gone": lambda history: history.add(Found("network", "n", GONE)),
    "shown is not so": lambda history: setattr(history, "shown", [*history.shown[:1]]),
    "command left": lambda history: history.add(Left("command", "COMMANDS 7")),
    "task left": lambda history: history.add(Left("task", "TASKS 7")),
    "process left": lambda history: history.add(Left("process", "git fetch")),
    "fetch left": lambda history: history.add(Left("fetch", "fetch-abc")),
    "complaint": lambda history: history.add(Complaint("installer", "KeyError")),
}


@pytest.mark.parametrize("rule", BREAKS)
def test_each_broken_promise_is_found_by_its_name(rule: str) -> None:
    history = whole()
    BREAKS[rule](history)
    assert rule in {finding.rule for finding in judged(history)}


def test_operations_of_one_tool_that_overlap_are_found() -> None:
    history = whole()
    at(history, 3, sequence=19)
    history.asked = []
    assert "out of order" in {finding.rule for finding in judged(history)}


def test_what_a_client_was_told_first_has_to_come_first_also_where_no_one_saw_the_commands() -> None:
    history = whole()
    at(history, 3, sequence=19)
    history.stored = []
    assert "out of order" in {finding.rule for finding in judged(history)}


def test_an_operation_shown_otherwise_than_its_record_says_is_found() -> None:
    history = whole()
    history.shownoperation[5] = replace(history.shownoperation[5], state="running")
    assert [finding.rule for finding in judged(history)] == ["shown is not so"]


def test_a_volume_of_a_tool_that_was_uninstalled_with_its_data_is_found() -> None:
    history = whole()
    history.asked[4] = replace(history.asked[4], data=True)
    assert [finding.rule for finding in judged(history)] == ["left of a tool that is gone"]


def test_a_tool_whose_container_somebody_removed_since_is_not_held_against_the_platform() -> None:
    history = whole()
    history.found = history.found[1:]
    history.shown = [replace(each, state="failed") for each in history.shown]
    assert {finding.rule for finding in judged(history)} == {"not its containers"}
    history.add(Fault("container", HERE, 2.0, 2.1, tool=HERE))
    assert judged(history) == []


def test_the_time_to_recover_is_from_the_end_of_a_fault_to_the_next_end_of_an_operation() -> None:
    history = whole()
    history.add(Fault("kill", "status", 0.0, 1.3), Fault("kill", "installer", 9.0, 10.0))
    (kill,) = recoveries(history)
    assert (kill.faults, kill.open) == (3, 1)
    assert kill.worst == pytest.approx(0.4)
    assert kill.median == pytest.approx(0.4)


def test_the_mix_asks_for_everything_that_can_be_asked_for() -> None:
    """Also for a kind that is added later: it has to be given a weight."""
    assert set(WEIGHTS) == set(get_args(Kind))
    orders = mixed(7, tools=8, commands=2000, clients=4, gateways=2)
    assert {order.kind for order in orders} == set(get_args(Kind))
    assert any(order.now for order in orders)
    assert any(order.cancels is not None for order in orders)
    assert any(order.repeats is not None for order in orders)
    assert any(order.at_once > 1 for order in orders)


def test_a_seed_gives_the_same_mix_again_and_another_seed_another_one() -> None:
    first, again, other = (mixed(seed, tools=5, commands=100, clients=3, gateways=2) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_what_repeats_or_cancels_is_about_an_earlier_order_of_the_same_client() -> None:
    orders = mixed(3, tools=8, commands=500, clients=4, gateways=2)
    for order in orders:
        for earlier in (order.cancels, order.repeats):
            if earlier is not None:
                assert earlier < order.number
                assert orders[earlier].client == order.client
        if order.repeats is not None:
            first = orders[order.repeats]
            assert (order.key, order.kind, order.name, order.now) == (first.key, first.kind, first.name, first.now)
