"""Which ports a stack publishes, and which of them people open in a browser."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from libs.contracts.problems import Failure
from services.orchestrator.domain.stacks.stack import Config, listed, part

FRONTS = ("web", "www", "frontend", "front", "proxy", "nginx", "caddy", "traefik", "app", "ui", "server", "gateway")
PAGES = (80, 8080, 3000, 8000, 5000, 4200, 8888, 9000)


@dataclass(frozen=True)
class Published:
    """A port of a service: `target` inside, `wanted` the host's that its author wrote (None: any)."""

    service: str
    target: int
    protocol: str = "tcp"
    wanted: int | None = None


def published(config: Config) -> set[Published]:
    """All ports that the configuration publishes; of a range of host ports the first counts."""
    found: set[Published] = set()
    services = part(config, "services")
    for name in services:
        for port in listed(part(services, name), "ports"):
            first = str(port.get("published") or "").partition("-")[0]
            found.add(Published(name, int(port["target"]), port.get("protocol", "tcp"), int(first or 0) or None))
    return found


def web(config: Config, service: str | None, port: int | None) -> Published | None:
    """What answers people: as the manifest says, else what the published ports suggest; None: nothing does.

    A service that others depend on is rather a database than a page. Raises `Failure` where the manifest names
    what is not there, or a port without saying whose.
    """
    services: Mapping[str, Config] = config["services"]
    if service is not None and service not in services:
        known = ", ".join(sorted(services))
        raise Failure("service_unknown", f"machete.service names {service}, but the Compose file has: {known}.")
    candidates = [each for each in published(config) if each.protocol == "tcp" and service in (None, each.service)]
    if port is not None:
        candidates = [each for each in candidates if each.target == port] or _unpublished(config, service, port)
    behind = {other for each in services.values() for other in part(each, "depends_on")}
    return min(candidates, key=lambda each: _distance(each, behind), default=None)


def _unpublished(config: Config, service: str | None, port: int) -> list[Published]:
    """The manifest's port is published although the Compose file does not."""
    services: Mapping[str, Config] = config["services"]
    if service is None:
        exposing = [name for name, each in services.items() if str(port) in map(str, listed(each, "expose"))]
        possible = exposing or list(services)
        if len(possible) != 1:
            raise Failure(
                "service_unknown",
                f"machete.port is {port}, but no service publishes it: publish it in the Compose file, or say as "
                "machete.service whose it is.",
            )
        service = possible[0]
    return [Published(service, port)]


def _distance(port: Published, behind: Container[str]) -> tuple[object, ...]:
    return (
        port.service in behind,
        _rank(port.service, FRONTS),
        _rank(port.target, PAGES),
        port.target,
        port.service,
    )


def _rank(value: object, order: Sequence[object]) -> int:
    return order.index(value) if value in order else len(order)
