"""One run: a platform, clients, faults, and what is found once all has come to rest."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from libs.contracts.streams import EVENTS
from tests.chaos.harness import reading
from tests.chaos.harness.clients import Client
from tests.chaos.harness.faults import Faults, Run
from tests.chaos.harness.history import History
from tests.chaos.harness.judge import Finding, judged
from tests.chaos.harness.mix import mixed
from tests.chaos.harness.plan import KINDS, ON_DISKS, planned
from tests.chaos.harness.stage import Stage, staged
from tests.chaos.harness.watcher import Watcher, commands
from tests.support.platform_waiting import until

REPLICAS = MappingProxyType({"gateway": 2, "installer": 2, "orchestrator": 3, "status": 2})
AGENTS = 4  # every fourth client is one
# Seconds. An operation that has not ended so long after the last fault will not.
PATIENCE = 120.0
# Seconds in which what was done comes to rest: views catch up, what has been given up is removed.
SETTLING = 30.0


@dataclass(frozen=True)
class Options:
    """`most` operations are under way at once. `program` is what services are started as.

    With `postgres`, gateway and status keep what they keep in one server, and not each in a file of its own.
    """

    seed: int
    tools: int
    commands: int
    faults: int
    kinds: Sequence[str] = KINDS
    clients: int = 8
    most: int = 16
    replicas: Mapping[str, int] = field(default_factory=lambda: REPLICAS)
    program: tuple[str, ...] = ("services",)
    say: bool = True
    patience: float = PATIENCE
    settling: float = SETTLING
    postgres: bool = False


@dataclass
class Outcome:
    history: History = field(default_factory=History)
    findings: list[Finding] = field(default_factory=list[Finding])
    refusals: Counter[str] = field(default_factory=Counter[str])
    seconds: float = 0.0
    restarts: int = 0


async def run(options: Options, folder: Path) -> Outcome:
    """`folder` takes all files; it must not hold any yet. Containers are gone afterwards."""
    small_disks = not ON_DISKS.isdisjoint(options.kinds)
    async with staged(
        folder, options.replicas, options.program, small_disks=small_disks, postgres=options.postgres
    ) as stage:
        return await _Running(options, stage).run()


class _Running:
    def __init__(self, options: Options, stage: Stage) -> None:
        self._options = options
        self._stage = stage
        self._began = time.monotonic()
        self._outcome = Outcome()
        self._history = self._outcome.history
        each = options.commands / max(options.faults, 1)
        self._watcher = Watcher(stage.platform.bus, options.most, each, self._now, self._history.add)

    def _now(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def _say(self, words: str) -> None:
        if self._options.say:
            print(f"{self._now():8.1f} s  {words}", flush=True)

    async def run(self) -> Outcome:
        async with self._watcher.watching(), asyncio.TaskGroup() as group:
            if self._options.say:
                asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupted, group)
            telling = group.create_task(self._tell())
            faulting = group.create_task(self._faults().run())
            await self._clients()
            self._say("all commands are sent")
            await self._watcher.finish()
            await faulting
            self._say("all faults are over")
            await self._quiet()
            telling.cancel()
        self._outcome.seconds, self._outcome.restarts = self._now(), self._stage.restarts
        await self._rest()
        return self._outcome

    def _interrupted(self, group: asyncio.TaskGroup) -> None:
        """The first Ctrl-C: what has happened so far is judged. The next one ends it at once."""
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._say("that is enough")
        group.create_task(self._watcher.stop())

    def _faults(self) -> Run:
        options = self._options
        services = [service for service, count in options.replicas.items() if count]
        plan = planned(
            options.seed, faults=options.faults, commands=options.commands, kinds=options.kinds, services=services
        )
        return Run(Faults(self._stage, self._now, self._history.add), plan, self._watcher)

    async def _clients(self) -> None:
        options, stage = self._options, self._stage
        orders = mixed(
            options.seed,
            tools=options.tools,
            commands=options.commands,
            clients=options.clients,
            gateways=len(stage.apis),
        )
        async with asyncio.TaskGroup() as group:
            for number in range(options.clients):
                # Keys are each principal's own: a client is a person or an agent, and stays so.
                doors = stage.doors[number % AGENTS == AGENTS - 1]
                client = Client(
                    doors, stage.url_of, self._history.add, self._watcher, self._outcome.refusals, options.patience
                )
                group.create_task(client.run([order for order in orders if order.client == number]))

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(10)
            ended, waiting, faults = self._watcher.ended, len(self._watcher.under_way), len(self._history.fault)
            self._say(f"{ended} ended, {waiting} under way, {len(self._history.asked)} asked, {faults} faults")

    async def _quiet(self) -> None:
        """Returns when every operation has ended, or when patience is over: the judge says what has not."""
        try:
            await until(lambda: not self._watcher.under_way, "all operations have ended", self._options.patience)
        except AssertionError:
            self._say(f"{len(self._watcher.under_way)} operations do not end")

    async def _rest(self) -> None:
        """What is found is looked at again until nothing is, or until all has had its time to come to rest."""
        give_up = time.monotonic() + self._options.settling
        while True:
            await self._look()
            self._outcome.findings = judged(self._history)
            if not self._outcome.findings or time.monotonic() > give_up:
                return
            self._say(f"{len(self._outcome.findings)} findings, such as {self._outcome.findings[0]}")
            await asyncio.sleep(3)

    async def _look(self) -> None:
        """Everything anew that is not only ever added to."""
        history, stage = self._history, self._stage
        await self._watcher.read()
        for facts in (history.kept, history.found, history.shown, history.shownoperation, history.left):
            facts.clear()
        history.complaint.clear()
        history.stored[:] = await commands(stage.platform.bus)
        history.add(*await reading.states(stage))
        await self._look_at_each_view()
        history.add(*await reading.engine(stage.platform))
        history.add(*await reading.left(stage))
        history.add(*reading.complaints(stage.platform))
        # What was begun meanwhile belongs to the history too.
        await self._watcher.read()

    async def _look_at_each_view(self) -> None:
        """One replica of status after the other, while the others are stopped: nothing else says which one answers."""
        replicas = self._stage.platform.replicas("status")
        for replica in replicas:
            others = [other for other in replicas if other is not replica]
            for other in others:
                await other.terminate()
            last = (await self._stage.platform.bus.jetstream.stream_info(EVENTS.name)).state.last_seq
            self._history.add(*await reading.shown(self._stage.apis[0], replica.name, last))
            for other in others:
                await self._stage.bring_up(other)
