"""What a service says of the servers that keep what it publishes."""

from __future__ import annotations

import pytest

from libs.runtime.bus.quorum import Keepers, checks_of
from libs.runtime.health import summary

ONE, THREE = Keepers("COMMANDS", 1), Keepers("COMMANDS", 3)
ONE_AWAY = Keepers("COMMANDS", 3, ("nats-2",))
TWO_BEHIND = Keepers("COMMANDS", 3, ("nats-2", "nats-3"))
TWO_LOST = Keepers("COMMANDS", 3, ("nats-2", "nats-3"), ("nats-2", "nats-3"))
UNLED = Keepers("COMMANDS", 3, ("nats-2",), led=False)


@pytest.mark.parametrize(
    ("found", "status", "ready"),
    [
        (ONE, "ok", True),
        (THREE, "ok", True),
        (ONE_AWAY, "degraded", True),
        (TWO_BEHIND, "degraded", True),
        (TWO_LOST, "down", False),
        (UNLED, "down", False),
    ],
)
def test_a_cluster_without_a_server_is_degraded_and_without_a_majority_it_is_down(
    found: Keepers, status: str, ready: bool
):
    report = summary({"gateway": checks_of(found)})
    assert (report.status, report.ready) == (status, ready)


def test_who_is_away_is_named():
    told = {check.name: check.detail for check in checks_of(ONE_AWAY)}
    assert told == {"nats": "connected", "nats_servers": "2 of 3 servers are there; away: nats-2"}
    assert [check.name for check in checks_of(ONE)] == ["nats"]
