"""Of a room that is too small for all, whoever has little keeps what he has."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from libs.runtime.fair_shares import Holding, cuts, level

SIZES = st.lists(st.integers(1, 10**9), min_size=1, max_size=50)


@given(SIZES, st.integers(1, 10**10))
def test_at_the_level_all_together_have_exactly_the_room(sizes: list[int], room: int) -> None:
    most = level(sizes, room)
    if sum(sizes) <= room:
        assert most == math.inf
    else:
        assert math.isclose(sum(min(size, most) for size in sizes), room, rel_tol=1e-9)


@given(SIZES, st.integers(1, 10**10))
def test_nobody_is_left_with_less_than_an_equal_share_if_he_had_that(sizes: list[int], room: int) -> None:
    assert level(sizes, room) >= room / len(sizes) * (1 - 1e-9)


@given(
    st.lists(st.tuples(st.integers(1, 10_000), st.integers(1, 100_000)), min_size=1, max_size=30), st.floats(0.01, 1)
)
def test_what_is_above_the_level_comes_down_to_it_and_the_rest_stays(of: list[tuple[int, int]], part: float) -> None:
    """Down to it, but for the newest message of each."""
    holdings = [Holding(str(number), count, count * each) for number, (count, each) in enumerate(of)]
    room = part * sum(holding.size for holding in holdings)
    most = level([holding.size for holding in holdings], room)
    found = {cut.subject: cut for cut in cuts(holdings, room)}
    for holding in holdings:
        cut = found.get(holding.subject)
        if cut is None:
            assert holding.messages == 1 or holding.size <= most * (1 + 1e-9)
            continue
        each = holding.size / holding.messages
        assert holding.size > most
        assert 1 <= cut.keep < holding.messages
        assert cut.keep == 1 or cut.keep * each <= most * (1 + 1e-9)
        assert (cut.keep + 1) * each > most * (1 - 1e-9)
        assert math.isclose(cut.gain, (holding.messages - cut.keep) * each, rel_tol=1e-9)
