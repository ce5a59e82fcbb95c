"""Which networks, volumes, secrets and configs a stack may declare."""

import ipaddress
from collections.abc import Iterator
from typing import Any

from libs.contracts.written import Place
from services.orchestrator.domain.stacks.policy_rules import (
    Judged,
    Refusal,
    Rule,
    anything,
    as_mapping,
    each,
    in_repository,
    matching,
    never,
    only,
    refusal,
    said,
    shape,
)

_EXTERNAL = never("it belongs to somebody else; declare one of the stack's own, without external")
_WIDEST = {4: 16, 6: 48}
_PRIVATE = [ipaddress.ip_network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")]
_SUBNET = (
    "the host sends there whatever is meant for these addresses; leave the subnet out, or write a private one of at "
    "most a /16 (IPv6: a /48), like 172.28.0.0/24"
)


def _subnet(place: Place, value: Any, _judged: Judged) -> Iterator[Refusal]:
    """The host's own traffic to these addresses goes into the network, so they are none that others have."""
    if not said(value):
        return
    try:
        net = ipaddress.ip_network(str(value), strict=False)
    except ValueError:
        yield refusal(place, value, _SUBNET)
        return
    around = [each for each in _PRIVATE if each.version == net.version and net.overlaps(each)]
    if not around or net.prefixlen < _WIDEST[net.version]:
        yield refusal(place, value, _SUBNET)


NETWORK: Rule = shape(
    {
        "name": anything,  # the tool's id and the key take its place
        "driver": only(("bridge",), "networks of a tool are bridges; leave the driver out"),
        # Others name an interface of the host, or bind its addresses.
        "driver_opts": shape(
            {
                "com.docker.network.driver.mtu": anything,
                "com.docker.network.enable_ipv6": anything,
                "com.docker.network.bridge.enable_icc": anything,
                "com.docker.network.bridge.enable_ip_masquerade": anything,
            },
            "options like this reach into the host's own network; leave it out",
        ),
        "ipam": shape(
            {
                "driver": only(("default",), "addresses are given by the engine; leave the driver out"),
                "options": never("addresses are given by the engine; leave the options out"),
                "config": each(
                    shape({"subnet": _subnet, "ip_range": anything, "gateway": anything, "aux_addresses": anything})
                ),
            }
        ),
        "external": _EXTERNAL,
        "internal": anything,
        "enable_ipv4": anything,
        "enable_ipv6": anything,
        "attachable": anything,
        "labels": anything,
    }
)

_TMPFS_OPTION = r"(size|nr_inodes|nr_blocks|mode|uid|gid)=[0-9a-zA-Z%]+|rw|ro|noexec|nosuid|nodev|noatime|relatime"
_TMPFS = {
    "type": only(("tmpfs",), "volumes are the engine's own; only type tmpfs may be mounted instead"),
    "device": only(("tmpfs", "none"), "a volume of type tmpfs has no device; write tmpfs"),
    # Among these, `bind` would make the device a folder of the host, whatever the type says.
    "o": matching(
        f"(({_TMPFS_OPTION})(,(?!$)|$))+",
        "other options mount what the host has; a volume in memory has size, mode, uid, gid and the like",
    ),
}
_MOUNTS = (
    "what is mounted by options may be anything of the host; bind ./folder in the service, or leave the options out"
)


def _volume_options(place: Place, value: Any, judged: Judged) -> Iterator[Refusal]:
    options = as_mapping(value) or {}
    if not said(value):
        return
    if options.get("type") != "tmpfs":
        yield refusal(place, ", ".join(f"{key}={item}" for key, item in options.items()) or value, _MOUNTS)
        return
    yield from shape(_TMPFS, "a volume in memory has only type, device and o")(place, value, judged)


VOLUME: Rule = shape(
    {
        # The tool's id and the key take its place, but `/etc` as a name would be a folder of the host.
        "name": matching(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", "a name is letters, digits, dots and dashes; leave it out"),
        "driver": only(("local",), "volumes of a tool are local; leave the driver out"),
        "driver_opts": _volume_options,
        "external": _EXTERNAL,
        "labels": anything,
    }
)

_ENVIRONMENT = never("the variable would be the platform's own; use a file of the repository, or the service's own env")
_DRIVER = never("a driver is a program of the host; use a file of the repository")
_FILE = in_repository("the file has to lie in the repository; write its path, like ./secrets/password.txt")

SECRET: Rule = shape(
    {
        "name": anything,
        "file": _FILE,
        "environment": _ENVIRONMENT,
        "content": anything,
        "external": _EXTERNAL,
        "labels": anything,
        "driver": _DRIVER,
        "driver_opts": _DRIVER,
        "template_driver": _DRIVER,
    }
)
CONFIG: Rule = SECRET
