"""Counting what waits, and saying when there will be room."""

from __future__ import annotations

import pytest

from services.gateway.domain.waiting import LATEST, SOONEST, TOLD_KEPT, Entry, Limits, Place, Waiting

LIMITS = Limits(tool=3, principal=5, platform=8)
LATHE: Place = ("tool", "lathe")
BOB: Place = ("principal", "bob")
ALL: Place = ("platform", "")
URGENT = Entry("bob", "lathe", stored=False, urgent=True)


def waiting(count: int, by: str = "bob", tool: str = "lathe", at: float = 0.0) -> Waiting:
    found = Waiting()
    entered(found, count, by, tool, at)
    return found


def entered(into: Waiting, count: int, by: str = "bob", tool: str = "lathe", at: float = 0.0) -> None:
    for number in range(count):
        into.enter(f"{by}-{tool}-{number}", Entry(by, tool, stored=True), at)


@pytest.mark.parametrize(
    ("by", "tool", "places"),
    [("bob", "lathe", [LATHE]), ("ann", "lathe", [LATHE]), ("bob", "drill", []), ("ann", "drill", [])],
)
def test_a_tool_with_as_many_as_may_wait_takes_no_more_and_others_do(by: str, tool: str, places: list[Place]):
    assert waiting(3).crowded(Entry(by, tool, stored=False), LIMITS) == places


def test_a_principal_with_as_many_as_may_wait_is_let_in_nowhere_and_others_are():
    found = waiting(3)
    entered(found, 2, tool="drill")
    assert found.crowded(Entry("bob", "saw", stored=False), LIMITS) == [BOB]
    assert found.crowded(Entry("ann", "saw", stored=False), LIMITS) == []


def test_a_full_platform_takes_nothing_from_anybody():
    found = waiting(3)
    entered(found, 3, by="ann", tool="drill")
    entered(found, 2, by="eve", tool="saw")
    assert found.crowded(Entry("zoe", "plane", stored=False), LIMITS) == [ALL]
    assert found.crowded(Entry("zoe", "plane", stored=False, urgent=True), LIMITS) == [ALL]


def test_each_limit_that_bars_is_named_for_a_count_may_be_out_of_date():
    found = waiting(3)
    entered(found, 5, tool="drill")
    assert found.crowded(Entry("bob", "lathe", stored=False), LIMITS) == [LATHE, BOB, ALL]


def test_what_clears_a_queue_is_let_into_a_full_one():
    assert waiting(3).crowded(URGENT, LIMITS) == []


def test_what_clears_a_queue_again_behind_another_that_does_is_counted_as_any():
    found = waiting(3)
    found.enter("first", URGENT, 0.0)
    found.stored("first", "lathe", 0.0)
    assert found.crowded(URGENT, LIMITS) == [LATHE]
    assert found.crowded(Entry("bob", "drill", stored=False, urgent=True), LIMITS) == []
    found.ended("first", 1.0)
    assert found.crowded(URGENT, LIMITS) == []


def test_when_to_come_again_follows_from_how_fast_the_queue_moved():
    found = waiting(3)
    found.ended("bob-lathe-0", 10.0)
    entered(found, 1, by="ann", at=11.0)
    found.ended("bob-lathe-1", 17.0)
    entered(found, 1, by="eve", at=17.0)
    # Two ends since second 10, which is 14 seconds ago.
    assert found.turned_away("op", LATHE, LIMITS, 24.0).seconds == 7


def test_a_queue_of_which_nothing_has_ended_yet_is_as_slow_as_it_has_been():
    found = waiting(3, at=100.0)
    assert found.turned_away("op", LATHE, LIMITS, 140.0).seconds == 40


def test_who_is_turned_away_later_is_told_a_later_time_but_none_past_the_whole_queue():
    found = waiting(3)
    said = [found.turned_away(f"op-{number}", LATHE, LIMITS, 20.0).seconds for number in range(5)]
    assert said == [20, 40, 60, 60, 60]


def test_who_asks_again_too_early_is_told_the_same_time_and_pushes_nobody_back():
    found = waiting(3)
    assert found.turned_away("mine", LATHE, LIMITS, 20.0).seconds == 20
    assert [found.turned_away("mine", LATHE, LIMITS, now).seconds for now in (25.0, 30.0, 39.0)] == [15, 10, 1]
    assert found.turned_away("another", LATHE, LIMITS, 39.0).seconds == 40


def test_who_comes_when_he_was_told_and_finds_no_room_is_told_a_new_time():
    found = waiting(3)
    assert found.turned_away("mine", LATHE, LIMITS, 20.0).seconds == 20
    assert found.turned_away("mine", LATHE, LIMITS, 40.0).seconds == 40


def test_of_many_who_were_turned_away_only_the_last_are_remembered():
    found = waiting(3)
    told = [found.turned_away(f"op-{number}", LATHE, LIMITS, 20.0).seconds for number in range(TOLD_KEPT + 1)]
    again = [found.turned_away(f"op-{number}", LATHE, LIMITS, 20.0).seconds for number in (TOLD_KEPT, 1, 0)]
    assert (told[0], again) == (20, [60, 40, 60])


@pytest.mark.parametrize(("now", "seconds"), [(0.0, SOONEST), (1e6, LATEST)])
def test_what_is_told_is_bounded(now: float, seconds: int):
    assert waiting(3).turned_away("op", LATHE, LIMITS, now).seconds == seconds


def test_nothing_is_kept_of_what_waits_no_more():
    found = waiting(3)
    found.enter("op", Entry("bob", None, stored=False), 0.0)
    found.leave_unless_stored("op")
    found.leave_unless_stored("bob-lathe-0")
    for number in range(3):
        found.ended(f"bob-lathe-{number}", 1.0)
        found.ended(f"bob-lathe-{number}", 2.0)
    assert [len(found), *(found.count(place) for place in (LATHE, BOB, ALL))] == [0, 0, 0, 0]


def test_what_ended_before_it_was_known_to_be_stored_does_not_come_back():
    found = Waiting()
    found.enter("op", Entry("bob", None, stored=False), 0.0)
    found.ended("op", 1.0)
    found.stored("op", "lathe", 2.0)
    assert len(found) == 0


def test_counts_that_missed_something_are_put_right_by_what_the_stream_holds():
    """Of what was heard while the stream was looked at, the stream says nothing."""
    found = waiting(3)
    entered(found, 1, tool="drill")
    found.enter("on its way", Entry("bob", "lathe", stored=False), 0.0)
    assert found.differing({"lathe": 2, "drill": 1, "saw": 1}) == {"lathe", "saw"}
    there = {id: Entry("bob", "lathe", stored=True) for id in ("bob-lathe-0", "unheard", "just ended")}
    found.correct("lathe", there, ["just ended", "bob-lathe-2"], 5.0)
    known = ["bob-lathe-0", "bob-lathe-1", "bob-lathe-2", "unheard", "just ended", "on its way"]
    assert [id in found for id in known] == [True, False, True, True, False, True]
    assert found.count(LATHE) == 4
