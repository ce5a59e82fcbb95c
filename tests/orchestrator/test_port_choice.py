from ipaddress import IPv4Network
from itertools import pairwise

import pytest

from services.orchestrator.domain.port_choice import (
    FIRST_PORT,
    PORTS,
    NoPortLeft,
    candidates,
    choose_port,
    subnets,
)


def test_a_tool_finds_the_same_port_again():
    first = choose_port("web-abc234", set(), lambda port: True)
    assert first == choose_port("web-abc234", set(), lambda port: True)
    assert FIRST_PORT <= first < FIRST_PORT + PORTS


def test_ports_of_containers_and_of_other_processes_are_passed_over():
    tried = list(candidates("web-abc234"))
    assert choose_port("web-abc234", {tried[0]}, lambda port: port != tried[1]) == tried[2]


def test_ports_are_tried_upward_and_each_once():
    tried = list(candidates("web-abc234"))
    assert len(set(tried)) == PORTS
    assert all(after == before + 1 or after == FIRST_PORT for before, after in pairwise(tried))


def test_when_no_port_is_left_it_says_so():
    with pytest.raises(NoPortLeft, match="uninstall a tool"):
        choose_port("web-abc234", range(FIRST_PORT, FIRST_PORT + PORTS), lambda port: True)


def test_subnets_lie_in_the_pool_and_differ():
    offered = list(subnets("web-abc234", "10.213.0.0/16"))
    assert len(set(offered)) == len(offered) == 32
    assert all(IPv4Network(subnet).subnet_of(IPv4Network("10.213.0.0/16")) for subnet in offered)
