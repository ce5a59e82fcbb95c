"""Which faults, when and for how long: a plan that a seed repeats. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

# For each kind: the least and the most seconds that it lasts.
LASTS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "kill": (0.0, 1.5),
        "pause": (6.0, 9.0),
        "cut": (4.0, 10.0),
        "nats-killed": (0.0, 3.0),
        "consumer-deleted": (0.0, 0.0),
        "store-full": (1.0, 4.0),
        "engine-cut": (0.5, 5.0),
        "container-killed": (0.0, 0.0),
        "container-removed": (0.0, 0.0),
        "database-locked": (1.0, 6.0),
        "database-lost": (0.0, 0.0),
        "disk-full": (1.0, 5.0),
        "nats-disk-full": (1.0, 4.0),
        "clock-wrong": (3.0, 8.0),
    }
)
KINDS = tuple(LASTS)
TO_PROCESSES = frozenset({"kill", "pause", "cut", "clock-wrong"})
# What needs small disks to be mounted, and so root.
ON_DISKS = frozenset({"disk-full", "nats-disk-full"})
# Together with the next one.
OVERLAPPING = 0.25


@dataclass(frozen=True)
class Planned:
    """A fault that begins once `after` operations have ended.

    `target` is a service where the fault is done to a process; `pick` (0 to 1) chooses among replicas or whatever else
    there is to choose among then. `along`: the next one does not wait for its end.
    """

    number: int
    kind: str
    target: str
    after: int
    seconds: float
    pick: float
    along: bool


def planned(
    seed: int, *, faults: int, commands: int, kinds: Sequence[str] = KINDS, services: Sequence[str]
) -> list[Planned]:
    """Each kind comes as often as any other, in an order of the seed's own, spread over the run.

    Of `kinds`, `kill` is done to every service in turn, `kill:status` to that one alone, and `store-full:TASKS` to
    that stream.
    """
    dice = random.Random(f"plan {seed}")
    pairs = [pair for kind in kinds for pair in _pairs(kind, services)]
    order: list[tuple[str, str]] = []
    while len(order) < faults:
        order += dice.sample(pairs, len(pairs))
    # Of all orders about half become operations; some are to be left for after the last fault.
    step = 0.4 * commands / max(faults, 1)
    return [
        Planned(
            number=number,
            kind=kind,
            target=target,
            after=int(min(10, 0.1 * commands) + number * step),
            seconds=round(dice.uniform(*LASTS[kind]), 2),
            pick=dice.random(),
            along=dice.random() < OVERLAPPING,
        )
        for number, (kind, target) in enumerate(order[:faults])
    ]


def _pairs(kind: str, services: Sequence[str]) -> list[tuple[str, str]]:
    name, _, service = kind.partition(":")
    if service:
        return [(name, service)]
    return [(name, each) for each in services] if name in TO_PROCESSES else [(name, name)]
