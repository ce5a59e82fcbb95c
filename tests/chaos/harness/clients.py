"""Clients that send what the mix says, each in its own order, and insist until they have an answer for good."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import httpx

from tests.chaos.harness.doors import Door
from tests.chaos.harness.history import Asked
from tests.chaos.harness.mix import Order
from tests.chaos.harness.watcher import Watcher
from tests.support.platform_api import Accepted, Refusal

# Seconds for which a client tries; less where a name may be about to be free.
INSISTENCE = 120.0
UNTIL_FREE = 3.0
PAUSE = 0.2
# Statuses that say nothing about the request itself.
LATER = (429, 500, 502, 503, 507)


class Client:
    """`doors` are where it asks, in turn; under a name it installs what is at its `url_of`.

    `refusals` counts what was no 202, by its code. Once nothing has gone on for `patience` seconds it sends no more.
    """

    def __init__(
        self,
        doors: Sequence[Door],
        url_of: Callable[[str], str],
        add: Callable[[Asked], None],
        watcher: Watcher,
        refusals: Counter[str],
        patience: float,
    ) -> None:
        self._doors = doors
        self._url_of = url_of
        self._add = add
        self._watcher = watcher
        self._refusals = refusals
        self._patience = patience
        self._clock = count(1)
        self._operations: dict[int, str] = {}

    async def run(self, orders: Sequence[Order]) -> None:
        for order in orders:
            await asyncio.sleep(order.wait)
            if not await self._watcher.room(order.number, self._patience):
                return
            if order.cancels is not None:
                await self._cancel(order, order.cancels)
            else:
                sent = (self._send(order, shift) for shift in range(order.at_once))
                await asyncio.gather(*sent)

    async def _send(self, order: Order, shift: int) -> None:
        """The same request, beginning at another gateway for each `shift`."""
        sent = next(self._clock)
        answer = await self._insist(order, shift, lambda api: self._request(api, order))
        accepted, refusal = (answer, None) if isinstance(answer, Accepted) else (None, answer)
        if accepted is not None:
            self._operations[order.number] = accepted.operation
            self._watcher.accepted(accepted.operation)
        self._add(
            Asked(
                order=order.number,
                client=order.client,
                kind=order.kind,
                name=order.name,
                key=order.key,
                sent=sent,
                heard=next(self._clock),
                operation=accepted.operation if accepted else None,
                tool=accepted.tool if accepted else None,
                data=order.data,
                refusal=refusal,
            )
        )

    async def _cancel(self, order: Order, number: int) -> None:
        operation = self._operations.get(number)
        if operation is not None:
            await self._insist(order, 0, lambda api: api.cancel(operation))

    async def _insist(self, order: Order, shift: int, request: Callable[[Door], Any]) -> Accepted | str:
        """What was accepted, or the code of the refusal."""
        clock = asyncio.get_running_loop()
        begun = clock.time()
        for attempt in count(shift):
            door = self._doors[order.gateways[attempt % len(order.gateways)]]
            try:
                return await request(door)
            except Refusal as refusal:
                code = str(refusal.problem.get("code", refusal.status))
                self._refusals[code] += 1
                patience = UNTIL_FREE if code == "name_taken" else INSISTENCE if refusal.status in LATER else 0
            except httpx.HTTPError as error:
                code = type(error).__name__
                self._refusals[code] += 1
                patience = INSISTENCE
            if clock.time() > begun + patience:
                return code
            await asyncio.sleep(PAUSE)
        raise AssertionError("counting ends never")

    def _request(self, api: Door, order: Order) -> Any:
        match order.kind:
            case "install":
                return api.install(order.name, self._url_of(order.name), key=order.key, start=order.start)
            case "stop":
                return api.stop(order.name, key=order.key, now=order.now)
            case "uninstall":
                return api.uninstall(order.name, key=order.key, now=order.now, data=order.data)
            case _:
                return getattr(api, order.kind)(order.name, key=order.key)
