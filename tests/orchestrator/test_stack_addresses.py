"""Which addresses the networks of a stack get when the engine has none left."""

from __future__ import annotations

from typing import Any

from services.orchestrator.domain.stacks.addresses import with_addresses

POOL = "10.213.0.0/26"  # four slices
CHOSEN = {"config": [{"subnet": "10.9.0.0/24"}]}


def stack(**networks: Any) -> dict[str, Any]:
    return {"name": "a-stack", "services": {}, "networks": networks}


def subnets_of(config: Any) -> dict[str, str]:
    return {name: network["ipam"]["config"][0]["subnet"] for name, network in config["networks"].items()}


def test_each_network_gets_a_slice_of_its_own_and_other_ones_at_the_next_try():
    config = stack(front={"name": "f"}, back={"name": "b", "ipam": {}})
    tried = [subnets_of(each) for each in with_addresses(config, "tool", POOL)]
    assert [set(each) for each in tried] == [{"front", "back"}] * 2
    assert {subnet for each in tried for subnet in each.values()} == {f"10.213.0.{at}/28" for at in (0, 16, 32, 48)}


def test_the_rest_of_the_configuration_stays_and_what_was_given_is_not_changed():
    config = stack(front={"name": "f", "internal": True})
    first = next(with_addresses(config, "tool", POOL))
    assert first["networks"]["front"].items() > {"name": "f", "internal": True}.items()
    assert (first["name"], config) == ("a-stack", stack(front={"name": "f", "internal": True}))


def test_addresses_that_an_author_chose_stay():
    for config in with_addresses(stack(own={"ipam": CHOSEN}, front={}), "tool", POOL):
        assert subnets_of(config)["own"] == "10.9.0.0/24"


def test_where_nothing_can_be_given_nothing_is_tried():
    assert list(with_addresses(stack(own={"ipam": CHOSEN}), "tool", POOL)) == []
    assert list(with_addresses({"services": {}}, "tool", POOL)) == []
    assert list(with_addresses(stack(**{f"n{each}": {} for each in range(5)}), "tool", POOL)) == []
