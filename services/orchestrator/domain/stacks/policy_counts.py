"""How much of the engine one stack may take up by numbers alone: what is beyond them, other tools would lack."""

from collections.abc import Iterator
from typing import Any

from libs.contracts.written import Place
from services.orchestrator.domain.stacks.policy_rules import (
    Judged,
    Refusal,
    Rule,
    as_list,
    as_mapping,
    number,
    refusal,
)

REPLICAS = 20  # containers of one service
CONTAINERS = 100  # containers of one stack
NETWORKS = 20  # networks of one stack: the engine's own pools have addresses for about thirty
PORTS = 100  # ports of one stack on the host: the engine runs a process of the host's for each
PROCESSES = 16_384  # processes and threads of one container


def _replicas(place: Place, value: Any, _judged: Judged) -> Iterator[Refusal]:
    if value is not None and not 0 <= number(value) <= REPLICAS:
        yield refusal(place, value, f"one service runs at most {REPLICAS} containers; ask for that many or fewer")


def _processes(place: Place, value: Any, _judged: Judged) -> Iterator[Refusal]:
    """Without an end to them, one tool may take every process that the host has."""
    if value is not None and not 1 <= number(value) <= PROCESSES:
        rule = f"a container has at least 1 process and at most {PROCESSES}; leave it out for the platform's own limit"
        yield refusal(place, value, rule)


def _containers(place: Place, value: Any, _judged: Judged) -> Iterator[Refusal]:
    total = sum(asked(service) for service in (as_mapping(value) or {}).values())
    if total > CONTAINERS:
        rule = f"all services of a stack run at most {CONTAINERS} containers together; ask for fewer replicas"
        yield refusal(place, f"{total:g} containers", rule)


def _ports(place: Place, value: Any, _judged: Judged) -> Iterator[Refusal]:
    total = sum(
        len(as_list((as_mapping(each) or {}).get("ports")) or ()) for each in (as_mapping(value) or {}).values()
    )
    if total > PORTS:
        rule = f"a stack publishes at most {PORTS} ports of the host; services reach each other without publishing"
        yield refusal(place, f"{total} ports", rule)


def _networks(place: Place, value: Any, _judged: Judged) -> Iterator[Refusal]:
    total = len(as_mapping(value) or ())
    if total > NETWORKS:
        yield refusal(place, f"{total} networks", f"a stack has at most {NETWORKS} networks; let services share some")


def asked(service: Any) -> float:
    """As Compose counts: `scale` before `deploy.replicas`, one where neither is said."""
    mapping = as_mapping(service) or {}
    deploy = as_mapping(mapping.get("deploy")) or {}
    counts = (value for value in (mapping.get("scale"), deploy.get("replicas")) if value is not None)
    return max(number(next(counts, 1)), 0)


SERVICE_REPLICAS: Rule = _replicas
SERVICE_PROCESSES: Rule = _processes
ALL_CONTAINERS: Rule = _containers
ALL_PORTS: Rule = _ports
ALL_NETWORKS: Rule = _networks
