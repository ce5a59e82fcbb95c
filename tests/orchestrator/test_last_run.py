"""The lines of one run, of a log that holds those of all runs."""

import pytest

from services.orchestrator.domain.last_run import of_last_run
from services.orchestrator.domain.log_frames import LogLine, LogPosition

TWICE = {10: "first", 11: "again first", 30: "second", 31: "again second"}


def lines(said: dict[int, str]) -> list[LogLine]:
    return [LogLine(time, "stdout", text, LogPosition(time, 1)) for time, text in said.items()]


@pytest.mark.parametrize(
    ("ends", "found"),
    [
        ([], ["first", "again first", "second", "again second"]),
        ([5], ["first", "again first", "second", "again second"]),
        ([11], ["second", "again second"]),
        ([20, 31], ["second", "again second"]),
        ([20, 40], ["second", "again second"]),
        ([20, 40, 60], ["second", "again second"]),
    ],
    ids=["never ended", "before", "goes on", "ended with its last line", "ended later", "said nothing since"],
)
def test_a_run_has_what_was_printed_after_the_end_before_it(ends: list[int], found: list[str]):
    assert [line.text for line in of_last_run(lines(TWICE), ends)] == found


def test_of_a_run_that_is_over_nothing_is_the_present_one_s():
    def over(*ends: int) -> list[str]:
        return [line.text for line in of_last_run(lines(TWICE), ends, but_for_present=True)]

    assert over(20) == ["first", "again first"]
    assert over(20, 40) == ["second", "again second"]
    assert over() == []
