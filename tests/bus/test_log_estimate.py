"""What tools hold of LOGS is estimated well enough to find those that hold too much, and nobody else."""

from __future__ import annotations

import math

from libs.contracts.logs import CHUNK_BYTES
from libs.runtime.bus.log_estimate import Estimate
from libs.runtime.fair_shares import cuts

MIB = 1024 * 1024
LOUD, QUIET = "loud-aaaaaa", [f"quiet{number}-aaaaaa" for number in range(20)]


def estimate() -> Estimate:
    """100 MiB: 1,500 large chunks of one tool in two sources, and 450 small ones of each of twenty others."""
    tools = {LOUD: {"loud.web": 1400, "loud.db": 100}, **{tool: {f"{tool}.web": 450} for tool in QUIET}}
    found = Estimate(tools, 100 * MIB, 60 * MIB)
    found.of_tool(LOUD, CHUNK_BYTES)
    for tool in QUIET:
        found.of_tool(tool, 600)
    return found


def test_only_the_loud_one_is_above_and_by_what_has_to_go() -> None:
    most, above = estimate().above()
    assert list(above) == [LOUD]
    assert math.isclose(above[LOUD] - most, 40 * MIB, rel_tol=1e-6)


def test_who_seems_four_times_as_large_as_he_is_still_loses_nothing() -> None:
    found = estimate()
    for tool in QUIET:
        found.of_tool(tool, 4 * 600)
    assert list(found.above()[1]) == [LOUD]


def test_who_has_too_few_chunks_to_hold_much_is_not_looked_at() -> None:
    found = Estimate({LOUD: {"web": 5000}, **{tool: {"web": 20} for tool in QUIET}}, 100 * MIB, 60 * MIB)
    assert found.possibly_large(100) == [LOUD]
    found.of_tool(LOUD, 20_000)
    assert list(found.above()[1]) == [LOUD]


def test_of_too_many_to_look_at_those_with_the_most_chunks_are() -> None:
    found = Estimate({f"t{number}-aaaaaa": {"web": 1000 + number} for number in range(50)}, 100 * MIB, 50 * MIB)
    assert found.possibly_large(3) == ["t49-aaaaaa", "t48-aaaaaa", "t47-aaaaaa"]


def test_what_is_known_of_its_sources_tells_which_of_them_come_down() -> None:
    found = estimate()
    found.of_sources(LOUD, {"loud.web": CHUNK_BYTES, "loud.db": 300})
    most, above = found.above()
    (cut,) = cuts(found.holdings(LOUD, above[LOUD]), most)
    assert cut.subject == "loud.web"
    assert math.isclose(cut.gain, 40 * MIB, rel_tol=0.01)
