"""Which port of the host a tool gets, and which slice of addresses its network."""

import hashlib
from collections.abc import Callable, Container, Iterator
from ipaddress import IPv4Network, ip_network

FIRST_PORT = 20_000
PORTS = 10_000


class NoPortLeft(Exception):
    """All ports of MACHETE's range are held."""


def choose_port(tool: str, held: Container[int], is_free: Callable[[int], bool]) -> int:
    """The same tool tries the same ports in the same order, so it finds its port again where it can.

    `held` are the ports of containers, stopped ones too; `is_free` asks the host about other processes.
    """
    for port in candidates(tool):
        if port not in held and is_free(port):
            return port
    raise NoPortLeft(f"all ports from {FIRST_PORT} to {FIRST_PORT + PORTS - 1} are taken: uninstall a tool")


def candidates(tool: str) -> Iterator[int]:
    start = _spread(tool) % PORTS
    return (FIRST_PORT + (start + step) % PORTS for step in range(PORTS))


def subnets(tool: str, pool: str, tries: int = 32) -> Iterator[str]:
    """Small slices (13 containers) of `pool` to try, for when the engine's own address pools are used up.

    An engine as it is shipped has addresses for about thirty networks.
    """
    network = ip_network(pool)
    assert isinstance(network, IPv4Network)
    slices = 2 ** (28 - network.prefixlen)
    base = int(network.network_address)
    start = _spread(tool) % slices
    return (str(IPv4Network((base + (start + step * 257) % slices * 16, 28))) for step in range(min(tries, slices)))


def _spread(tool: str) -> int:
    return int.from_bytes(hashlib.sha256(tool.encode()).digest()[:8], "big")
