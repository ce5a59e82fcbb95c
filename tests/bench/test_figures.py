"""What is made of measurements."""

import pytest

from bench.figures import Aim, Row, Sample, percentile
from bench.turns import Measure, in_turn


def row(*ours: float, theirs: tuple[float, ...] = (), aim: Aim | None = None) -> Row:
    return Row("thing", "ms", Sample.of(ours), Sample.of(theirs) if theirs else None, aim)


def test_a_ratio_is_that_of_the_medians_and_ignores_outliers() -> None:
    assert row(1, 2, 900, theirs=(4, 4, 0.1)).ratio == 0.5


def test_an_aim_is_met_at_its_very_limit() -> None:
    assert row(2, theirs=(2,), aim=Aim(1.0)).met is True
    assert row(6, theirs=(10,), aim=Aim(0.6, "at least")).met is True


def test_a_missed_aim_says_by_how_much_of_the_limit() -> None:
    assert row(3, theirs=(2,), aim=Aim(1.0)).missed_by == pytest.approx(0.5)
    assert row(3, theirs=(10,), aim=Aim(0.6, "at least")).missed_by == pytest.approx(0.5)
    assert row(180, aim=Aim(150, on="value")).missed_by == pytest.approx(0.2)
    assert row(120, aim=Aim(150, on="value")).missed_by == 0


def test_without_an_aim_nothing_is_met_or_missed() -> None:
    assert (row(1).met, row(1).missed_by, row(1).ratio) == (None, None, None)


def test_an_aim_for_a_ratio_needs_something_to_compare_with() -> None:
    with pytest.raises(ValueError, match="compare"):
        _ = row(1, aim=Aim(1.0)).met


def test_nothing_measured_is_no_sample() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Sample.of([])


@pytest.mark.parametrize(("percent", "value"), [(1, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)])
def test_a_percentile_is_the_smallest_value_that_so_many_are_not_above(percent: float, value: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], percent) == value


async def test_things_are_measured_in_turn_and_the_first_turn_does_not_count() -> None:
    done: list[str] = []

    def counting(name: str) -> Measure:
        async def measure() -> float:
            done.append(name)
            return float(len(done))

        return measure

    samples = await in_turn(3, counting("a"), counting("b"))
    assert done == ["a", "b"] * 4
    assert [sample.values for sample in samples] == [(3, 5, 7), (4, 6, 8)]
