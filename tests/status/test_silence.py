"""The log of a tool that is gone ends once nothing more comes, and not before."""

from __future__ import annotations

from services.status.domain.silence import AT_MOST, AWAY, ENOUGH, Silence


def test_it_is_over_once_nothing_new_came_for_long_enough() -> None:
    silence = Silence.begun(7, 100.0)
    silence.heard(7, 102.0, 102.1)
    assert not silence.is_over(100.0 + ENOUGH - 0.1)
    assert silence.is_over(100.0 + ENOUGH)


def test_with_each_new_line_it_begins_anew() -> None:
    silence = Silence.begun(7, 100.0)
    late = 100.0 + ENOUGH - 0.5
    silence.heard(8, late, late)
    assert not silence.is_over(late + ENOUGH - 0.1)
    assert silence.is_over(late + ENOUGH)


def test_lines_without_end_are_not_waited_for_without_end() -> None:
    silence = Silence.begun(0, 100.0)
    for second in range(int(AT_MOST)):
        assert not silence.is_over(100.0 + second)
        silence.heard(second + 1, 100.0 + second, 100.0 + second)
    assert silence.is_over(100.0 + AT_MOST)


def test_an_outage_is_no_silence_and_takes_nothing_of_the_time_that_there_is() -> None:
    silence = Silence.begun(7, 100.0)
    back = 100.0 + 2 * AT_MOST
    silence.heard(7, 101.0, back)
    assert not silence.is_over(back + ENOUGH - 0.1)
    silence.heard(8, back + AWAY, back + AWAY + 0.1)
    assert not silence.is_over(back + ENOUGH)
    assert silence.is_over(back + AWAY + 0.1 + ENOUGH)
