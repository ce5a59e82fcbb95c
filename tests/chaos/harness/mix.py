"""What clients ask for: a random mix of commands that a seed repeats. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import get_args

from libs.contracts.operations import Kind

KINDS: tuple[Kind, ...] = get_args(Kind)
# How often each is asked of a tool that is there, as far as the mix can know; one that is not is installed.
WEIGHTS: Mapping[Kind, int] = MappingProxyType(
    {"start": 6, "stop": 5, "restart": 4, "build": 2, "uninstall": 2, "install": 1}
)
BLIND = 0.03  # the share of commands that ask for anything at all, sensible or not
NOW = 0.3
CANCELLED = 0.12
REPEATED = 0.12
AT_ONCE = 0.1
STRAY = 0.2  # the share of commands that another client sends than the one that mostly sends this tool's
HESITATION = 1.5  # the most seconds between a request and its cancelling
STARTED = 0.6
WITH_DATA = 0.5
FAR = 12  # the most orders of a client between a request and its late repetition


@dataclass(frozen=True)
class Order:
    """One request of one client, or the wish to cancel or to repeat an earlier one of the same client.

    `key` is its Idempotency-Key, under which it is tried again, in turn at the `gateways` (numbers). `at_once` is how
    often it is sent at the same time. `cancels` and `repeats` are numbers of orders; a repetition is else its equal.
    `wait` is seconds before it is sent.
    """

    number: int
    client: int
    kind: Kind
    name: str
    key: str
    gateways: tuple[int, ...]
    at_once: int = 1
    now: bool = False
    data: bool = False
    start: bool = False
    cancels: int | None = None
    repeats: int | None = None
    wait: float = 0.0


@dataclass
class _Mixer:
    dice: random.Random
    names: Sequence[str]
    clients: int
    gateways: int
    orders: list[Order] = field(default_factory=list[Order])
    there: set[str] = field(default_factory=set[str])

    def add(self) -> None:
        name = self.dice.choice(self.names)
        stray = self.dice.random() < STRAY
        client = self.dice.randrange(self.clients) if stray else self.names.index(name) % self.clients
        mine = [order for order in self.orders[-FAR * self.clients :] if order.client == client]
        requests = [order for order in mine if order.cancels is None]
        luck = self.dice.random()
        if requests and luck < CANCELLED:
            self._cancel(client, requests[-1])
        elif requests and luck < CANCELLED + REPEATED:
            self._repeat(self.dice.choice(requests))
        else:
            self._ask(client, name)

    def _ask(self, client: int, name: str) -> None:
        kind = self._kind(name)
        number = len(self.orders)
        order = Order(
            number=number,
            client=client,
            kind=kind,
            name=name,
            key=f"order-{number}",
            gateways=self._gateways(),
            at_once=2 if self.dice.random() < AT_ONCE else 1,
            now=kind in ("stop", "uninstall") and self.dice.random() < NOW,
            data=kind == "uninstall" and self.dice.random() < WITH_DATA,
            start=kind == "install" and self.dice.random() < STARTED,
        )
        self.orders.append(order)
        if kind == "install":
            self.there.add(name)
        elif kind == "uninstall":
            self.there.discard(name)

    def _kind(self, name: str) -> Kind:
        if self.dice.random() < BLIND:
            return self.dice.choice(KINDS)
        if name not in self.there:
            return "install"
        return self.dice.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]

    def _gateways(self) -> tuple[int, ...]:
        return tuple(self.dice.sample(range(self.gateways), self.gateways))

    def _cancel(self, client: int, order: Order) -> None:
        number = len(self.orders)
        wait = round(self.dice.uniform(0, HESITATION), 2)
        wish = Order(number, client, order.kind, order.name, "", self._gateways(), cancels=order.number, wait=wait)
        self.orders.append(wish)

    def _repeat(self, order: Order) -> None:
        again = {**vars(order), "number": len(self.orders), "gateways": self._gateways(), "at_once": 1}
        self.orders.append(Order(**{**again, "repeats": order.number if order.repeats is None else order.repeats}))


def mixed(seed: int, *, tools: int, commands: int, clients: int, gateways: int) -> list[Order]:
    """`commands` orders over `tools` names, in the order in which each client sends its own."""
    mixer = _Mixer(random.Random(f"mix {seed}"), [f"tool-{number:03}" for number in range(tools)], clients, gateways)
    while len(mixer.orders) < commands:
        mixer.add()
    return mixer.orders
