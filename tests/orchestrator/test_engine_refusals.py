"""What the engine's refusals are about, by its words in the versions that there are."""

from __future__ import annotations

import pytest

from services.orchestrator.domain.failures import EngineError, is_out_of_addresses


@pytest.mark.parametrize(
    ("said", "is_out"),
    [
        ("could not find an available, non-overlapping IPv4 address pool among the defaults to assign to it", True),
        ("failed to create network x: Error response from daemon: all predefined address pools have been fully", False),
        ("all predefined address pools have been fully subnetted", True),
        ("could not find an available, non-overlapping IPv6 address pool among the defaults to assign to it", False),
        ("Pool overlaps with other one on this address space", False),
        ("ports are not available: exposing port TCP 127.0.0.1:80", False),
    ],
)
def test_addresses_are_out_where_the_engine_says_so_of_those_it_had(said: str, is_out: bool):
    assert is_out_of_addresses(EngineError("engine_error", said)) is is_out
