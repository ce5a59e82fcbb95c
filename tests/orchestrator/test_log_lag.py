"""When a log is read again because the engine may have left lines out, and when it is not."""

from services.orchestrator.domain.log_lag import LEAST_LEAP, MOST_LEAP, ON_THE_WAY, QUIET, Leaps

NOW = 1_000_000_000_000


def reading(*, late: int) -> Leaps:
    """As much as can lie on the way was read, each line so many nanoseconds after it was printed."""
    leaps = Leaps()
    leaps.opened(NOW)
    leaps.came(ON_THE_WAY, NOW, NOW + late)
    return leaps


def test_who_reads_what_is_printed_at_once_suspects_nothing():
    assert reading(late=LEAST_LEAP - 1).suspected(NOW) is None


def test_who_reads_late_suspects_each_leap_behind_the_beginning():
    leap = reading(late=LEAST_LEAP).suspected(NOW)
    assert leap is not None
    assert leap.is_between(NOW, NOW + LEAST_LEAP)
    assert not leap.is_between(NOW, NOW + LEAST_LEAP - 1)
    assert not leap.is_between(NOW - 10 * LEAST_LEAP, NOW + LEAST_LEAP - 1)


def test_a_long_log_that_was_there_before_makes_nobody_suspicious():
    leaps = Leaps()
    leaps.opened(NOW)
    leaps.came(1000 * ON_THE_WAY, NOW - 1, NOW + LEAST_LEAP)
    assert leaps.suspected(NOW) is None


def test_who_has_caught_up_suspects_nothing_any_more():
    leaps = reading(late=LEAST_LEAP)
    leaps.came(100, NOW, NOW)
    assert leaps.suspected(NOW) is None


def test_after_a_time_without_anything_nothing_is_suspected():
    leaps = reading(late=LEAST_LEAP)
    assert leaps.suspected(NOW + LEAST_LEAP + QUIET - 1) is not None
    assert leaps.suspected(NOW + LEAST_LEAP + QUIET) is None


def test_a_tool_that_pauses_by_itself_is_suspected_less_and_less_until_lines_were_missing_again():
    leaps = reading(late=LEAST_LEAP)
    leaps.turned_out(False)
    leaps.turned_out(False)
    leap = leaps.suspected(NOW)
    assert leap is not None
    assert leap.least == 4 * LEAST_LEAP
    for _ in range(10):
        leaps.turned_out(False)
    leap = leaps.suspected(NOW)
    assert leap is not None
    assert leap.least == MOST_LEAP
    leaps.turned_out(True)
    leap = leaps.suspected(NOW)
    assert leap is not None
    assert leap.least == LEAST_LEAP
