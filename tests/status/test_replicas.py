"""Real processes of the status service on one database: killed, frozen and added while things happen."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from libs.contracts.envelope import Message
from libs.contracts.queries import ListOperations, ListTools, Question
from libs.contracts.streams import EVENTS
from libs.contracts.views import Page
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unanswerable, Unavailable
from services.status.adapters.databases import IDLE_LIMIT
from tests.status.stories import Operation, tool
from tests.support.processes import freeze, state_of
from tests.support.stage import Stage, eventually, staged

ENDED_BADLY = "Traceback"
PROCESSES_START_WITHIN = 60.0


@dataclass
class Replica:
    """One process of the status service, with a data folder of its own."""

    folder: Path
    stage: Stage
    url: str
    process: subprocess.Popen[bytes] = field(init=False)

    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("MACHETE_")},
            "MACHETE_DATA": str(self.folder),
            "MACHETE_PORT": "0",
            "MACHETE_NATS_URL": self.stage.server.url,
            "MACHETE_NATS_USER": "status",
            "MACHETE_NATS_PASSWORD": self.stage.server.password("status"),
            "MACHETE_STATUS_DATABASE": self.url,
        }

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "said").open("ab") as said:
            argv = [sys.executable, "-m", "services", "status"]
            self.process = subprocess.Popen(argv, env=self.environment(), stdout=said, stderr=said)

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        await asyncio.to_thread(self.process.wait, 20)

    def freeze(self) -> None:
        freeze(self.process.pid)

    def wake(self) -> None:
        self.send(signal.SIGCONT)


@asynccontextmanager
async def replicas(stage: Stage, url: str, folder: Path, number: int) -> AsyncGenerator[list[Replica]]:
    """All of them read the stream: each has a consumer of its own."""
    started = [Replica(folder / f"replica{each}", stage, url) for each in range(number)]
    try:
        for each in started:
            each.start()

        async def reading() -> bool:
            return len(await stage.readers("EVENTS")) == number

        await eventually(reading, f"all {number} read the stream", PROCESSES_START_WITHIN)
        yield started
    finally:
        for each in started:
            if state_of(each.process.pid) not in (None, "Z"):
                each.wake()
            await each.kill()


@dataclass
class Asker:
    """Asks all the time; remembers whether anything it was shown went back."""

    gateway: Bus
    newest: int = 0
    answers: int = 0
    refused: list[str] = field(default_factory=list[str])
    running: asyncio.Task[None] | None = None

    def shows(self, newest: int) -> bool:
        """Whether the newest tool is this one. Raises what was wrong with an answer."""
        if self.running is not None and self.running.done():
            self.running.result()
        return self.newest >= newest

    async def ask(self, question: Question, patience: float = 2.0) -> Page | None:
        """A frozen process is given up soon: the next question may reach another one."""
        try:
            return await self.gateway.ask(question, Page, patience=patience)
        except Unanswerable as answer:
            self.refused.append(answer.problem.code)
        except Unavailable:
            self.refused.append("unavailable")
        return None

    async def run(self) -> None:
        while True:
            page = await self.ask(ListOperations(limit=1))
            if page is not None and page.operations:
                number = int(page.operations[0].tool.rpartition("-")[0].removeprefix("tool"))
                assert number >= self.newest, f"{number} was shown after {self.newest}"
                self.newest = number
                self.answers += 1
            await asyncio.sleep(0.01)


def life(number: int, first: int) -> list[Message]:
    """A tool is installed; its first event has this sequence."""
    operation = Operation(name=f"tool{number:04}")
    state = tool(operation.name)
    return [operation.accepted(number), operation.started(1, number), operation.succeeded(first + 1, state, number)]


@dataclass
class Teller:
    """Says what happens, one event after the other, so that sequences are what `life` says."""

    stage: Stage
    told: int = 0

    async def say(self, tools: int) -> int:
        """The sequence of the last event."""
        last = 0
        for number in range(self.told, self.told + tools):
            for message in life(number, number * 3 + 1):
                last = (await self.stage.witness.publish(EVENTS, message)).sequence
        self.told += tools
        assert last == self.told * 3
        return last


async def shown(asker: Asker, position: int) -> list[tuple[str, str]]:
    """All tools, from whoever answers; one that is frozen does not, and may hold the lock for a while."""
    found: list[tuple[str, str]] = []
    after: str | None = None
    while True:
        page = await asker.ask(ListTools(limit=500, after=after, position=position), patience=8.0)
        if page is None:
            assert set(asker.refused[-1:]) <= {"unavailable", "projection_behind"}
            continue
        found += [(view.name, view.state) for view in page.tools]
        after = page.next
        if after is None:
            return found


def all_running(count: int) -> list[tuple[str, str]]:
    return [(f"tool{number:04}", "running") for number in range(count)]


pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def stage() -> AsyncGenerator[Stage]:
    async with staged() as stage:
        yield stage


@asynccontextmanager
async def asking(stage: Stage) -> AsyncGenerator[Asker]:
    asker = Asker(await stage.bus("gateway"))
    task = asker.running = asyncio.create_task(asker.run())
    try:
        yield asker
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_one_of_two_killed_in_the_middle_takes_nothing_along(
    stage: Stage, postgres_url: str, tmp_path: Path
) -> None:
    teller = Teller(stage)
    async with replicas(stage, postgres_url, tmp_path, 2) as (first, second), asking(stage) as asker:
        await teller.say(50)
        telling = asyncio.create_task(teller.say(200))
        await eventually(lambda: asker.shows(80), "it goes on")
        await first.kill()
        position = await telling
        assert await shown(asker, position) == all_running(250)
        first.start()
        await second.kill()
        position = await teller.say(20)
        await eventually(
            lambda: asker.shows(teller.told - 1), "the one started again shows all of it", PROCESSES_START_WITHIN
        )
        assert await shown(asker, position) == all_running(270)
        assert ENDED_BADLY not in first.said + second.said


async def test_a_frozen_one_that_wakes_up_takes_nothing_back(stage: Stage, postgres_url: str, tmp_path: Path) -> None:
    """Wherever it was frozen, in a transaction too: the server ends that one, and the other goes on."""
    teller = Teller(stage)
    async with replicas(stage, postgres_url, tmp_path, 2) as both, asking(stage) as asker:
        for round in range(4):
            frozen = both[round % 2]
            telling = asyncio.create_task(teller.say(60))
            await asyncio.sleep(0.15 + round * 0.06)  # anywhere in the middle, each time elsewhere
            frozen.freeze()
            await telling
            await eventually(
                lambda: asker.shows(teller.told - 1),
                f"the other one goes on in round {round}",
                IDLE_LIMIT + 55,
            )
            frozen.wake()
        position = await teller.say(10)
        for each in both:
            each.freeze()
            assert await shown(asker, position) == all_running(teller.told)
            each.wake()
        assert ENDED_BADLY not in both[0].said + both[1].said


async def test_those_that_start_together_on_an_empty_database_fill_it_together(
    stage: Stage, postgres_url: str, tmp_path: Path
) -> None:
    teller = Teller(stage)
    position = await teller.say(400)
    async with replicas(stage, postgres_url, tmp_path, 3) as three, asking(stage) as asker:
        assert await shown(asker, position) == all_running(400)
        for each in three:
            await each.kill()
            each.start()
        position = await teller.say(10)
        await eventually(lambda: asker.shows(409), "they go on where the tables stand", PROCESSES_START_WITHIN)
        assert await shown(asker, position) == all_running(410)
        assert ENDED_BADLY not in "".join(each.said for each in three)
        assert "filled anew" not in three[0].said.rpartition('"ready"')[2]
