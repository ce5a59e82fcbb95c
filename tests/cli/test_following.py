"""Each line of a followed log once, whatever the clocks say."""

from __future__ import annotations

from typing import Any

from clients.cli.following import Place


def line(number: int, second: int, service: str = "web") -> dict[str, Any]:
    return {"number": number, "time": f"2026-03-01T12:00:{second:02}Z", "service": service, "text": f"line {number}"}


def test_lines_whose_times_step_back_come_all_the_same_and_once():
    """Two threads of a tool that write to stdout and stderr overtake one another; clocks are set back."""
    place = Place()
    lines = [line(0, 10), line(1, 9), line(2, 9), line(3, 12), line(4, 3)]
    assert [place.passes(each) for each in lines] == [True] * 5
    assert [place.passes(each) for each in lines] == [False] * 5, "as they come again after an outage"
    assert place.passes(line(5, 4))


def test_each_service_has_a_place_of_its_own():
    place = Place()
    assert place.passes(line(7, 10))
    assert place.passes(line(3, 5, "db"))
    assert not place.passes(line(3, 5, "db"))


def test_numbers_that_begin_anew_later_are_new_lines():
    """Of a platform that lost all lines, or a tool of the same name that was installed anew."""
    place = Place()
    assert place.passes(line(100, 10))
    assert [place.passes(each) for each in (line(0, 20), line(1, 20), line(0, 20))] == [True, True, False]
