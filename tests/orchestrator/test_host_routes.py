"""A tool's network takes no addresses at which the host reaches somebody else."""

from typing import Any

import pytest

from libs.contracts.problems import Failure
from services.orchestrator.adapters.host_routes import ROUTES, refuse_taken

# The default route, the local network 192.168.1.0/24, a bridge of the engine 172.21.0.0/16.
TABLE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
br-97c3b8c2960f\t000015AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
"""


def networks(*subnets: str) -> dict[str, Any]:
    return {"front": {"ipam": {"config": [{"subnet": subnet} for subnet in subnets]}}, "back": {"ipam": {}}}


@pytest.mark.parametrize("subnet", ["192.168.1.0/24", "192.168.1.128/28", "192.168.0.0/16"])
def test_addresses_that_the_host_reaches_are_not_to_be_had(subnet: str):
    with pytest.raises(Failure, match=r"networks\.front\.ipam: this host reaches others") as refused:
        refuse_taken(networks("172.28.0.0/24", subnet), TABLE)
    assert refused.value.code == "policy_refused"


@pytest.mark.parametrize("subnet", ["172.28.0.0/24", "172.21.0.0/24", "192.168.2.0/24", "fd00:1::/64"])
def test_others_are_left_to_the_engine(subnet: str):
    refuse_taken(networks(subnet), TABLE)


def test_the_table_of_this_host_can_be_read():
    refuse_taken(networks("198.18.7.0/24"), ROUTES.read_text())
