"""Which addresses this host reaches, apart from what the engine itself made: no tool's network may take them over."""

import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from libs.contracts.problems import Failure

ROUTES = Path("/proc/net/route")
_OF_THE_ENGINE = ("br-", "docker", "veth")


def refuse_taken(networks: Mapping[str, Any], routes: str) -> None:
    """`networks` as in a Compose configuration, `routes` as in /proc/net/route. Raises `Failure` (policy_refused)."""
    taken = list(_reached(routes.splitlines()[1:]))
    for name, network in networks.items():
        for each in (network.get("ipam") or {}).get("config") or ():
            subnet = ipaddress.ip_network(each.get("subnet") or "0.0.0.0/32", strict=False)
            if any(subnet.version == other.version and subnet.overlaps(other) for other in taken):
                raise Failure(
                    "policy_refused",
                    f"networks.{name}.ipam: this host reaches others at {subnet}, who would be cut off: "
                    "leave the subnet out, or choose another one.",
                )


def _reached(lines: Iterable[str]) -> Iterable[ipaddress.IPv4Network]:
    for line in lines:
        interface, destination, *_, mask = line.split()[:8]
        if not interface.startswith(_OF_THE_ENGINE) and destination != "00000000":
            yield ipaddress.IPv4Network((_address(destination), str(_address(mask))), strict=False)


def _address(written: str) -> ipaddress.IPv4Address:
    """The kernel writes the bytes as they lie in memory."""
    return ipaddress.IPv4Address(bytes.fromhex(written)[::-1])
