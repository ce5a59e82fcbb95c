"""What people and programs read of a measurement."""

import json

from bench.figures import Aim, Row, Sample
from bench.table import markdown, number, plain

MISSED = Row("install", "ms", Sample.of([900, 1200, 1000]), Sample.of([800, 500, 600]), Aim(1.15), "docker build")
ALONE = Row("memory", "MB", Sample.of([120.0]), aim=Aim(150, on="value"), details={"nats": Sample.of([15.0])})


def test_a_missed_aim_stands_in_the_table_with_its_distance() -> None:
    line = next(line for line in markdown([MISSED]).splitlines() if "install" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["install", "1000", "900–1200", "600", "500–800", "1.67 ×", "≤ 1.15 ×", "no, by 45 %", "3", "ms"]


def test_every_line_of_the_table_is_equally_wide() -> None:
    lines = [line for line in markdown([MISSED, ALONE]).splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1


def test_what_theirs_is_stands_below_the_table() -> None:
    assert markdown([MISSED, ALONE]).endswith("- **install** against docker build")


def test_numbers_have_three_digits_that_say_something() -> None:
    assert [number(value) for value in (1234.5, 99.96, 12.34, 0.1234, 0)] == ["1234", "100.0", "12.3", "0.12", "0"]


def test_the_json_holds_every_value_that_was_measured_and_its_verdict() -> None:
    missed, alone = json.loads(json.dumps(plain([MISSED, ALONE])))
    assert missed["ours"] == {"median": 1000, "min": 900, "max": 1200, "n": 3, "values": [900, 1200, 1000]}
    assert (missed["met"], round(missed["ratio"], 2), round(missed["missed_by"], 2)) == (False, 1.67, 0.45)
    assert (alone["theirs"], alone["ratio"], alone["met"]) == (None, None, True)
    assert alone["details"]["nats"]["median"] == 15.0
