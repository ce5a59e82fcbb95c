"""Addresses for the networks of a stack, for when the engine has none left of its own."""

from collections.abc import Iterator
from itertools import islice

from services.orchestrator.domain.port_choice import subnets
from services.orchestrator.domain.stacks.stack import Config, part


def with_addresses(config: Config, tool: str, pool: str) -> Iterator[Config]:
    """The configuration with slices of `pool` for its networks, other ones each time, for as long as there are enough.

    Those that have addresses of their author's choice keep them; where all have, there is nothing to try.
    """
    networks = part(config, "networks")
    without = [name for name, network in networks.items() if not part(network, "ipam").get("config")]
    slices = subnets(tool, pool)
    while len(chosen := list(islice(slices, len(without)))) == len(without) > 0:
        given = {
            name: {**networks[name], "ipam": {"config": [{"subnet": subnet}]}}
            for name, subnet in zip(without, chosen, strict=True)
        }
        yield {**config, "networks": {**networks, **given}}
