"""What agents send at one time is held within bounds: on a real server, with answers that are held up."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from nats.aio.msg import Msg

from libs.contracts.agents import STATUS_HEADER
from libs.runtime import metrics
from libs.runtime.bus.agent_requests import (
    MOST,
    MOST_OF_ONE,
    MOST_REFUSALS,
    MOST_REFUSALS_OF_ONE,
    AgentRequest,
    Reply,
    answering_agents,
)
from tests.support.stage import Stage, eventually, staged

BODY = b"x" * 65536
CALM = "calm"


@pytest.fixture
async def stage() -> AsyncGenerator[Stage]:
    async with staged() as ready:
        yield ready


@dataclass
class Service:
    """Answers the agent `CALM` at once, and everybody else when it `may_go_on`. `held` is what it has in hand."""

    stage: Stage
    held: list[AgentRequest] = field(default_factory=list[AgentRequest])
    answers: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    flooding: list[str] = field(default_factory=list[str])

    async def respond(self, request: AgentRequest) -> Reply:
        if request.agent != CALM:
            self.held.append(request)
            await self.may_go_on.wait()
            self.held.remove(request)
        return Reply(429 if request.crowded else 200, {}, b"")

    async def hear(self, message: Msg) -> None:
        self.answers[message.subject.split(".")[1], (message.headers or {})[STATUS_HEADER]] += 1

    async def flood(self, agent: str, times: int, body: bytes = BODY) -> None:
        for _ in range(times):
            await self.stage.witness.nats.publish(
                f"machete.agent.v1.{agent}.tools.list", body, reply=f"_INBOX_agent.{agent}.abc"
            )

    async def calm_is_answered(self, status: str) -> None:
        """As it asks over the connection that the flood came over, all of that has been dealt with then."""
        before = self.answers[CALM, status]
        await self.flood(CALM, 1)
        await eventually(lambda: self.answers[CALM, status] == before + 1, f"{CALM} is answered with {status}")


@asynccontextmanager
async def serving(stage: Stage) -> AsyncGenerator[Service]:
    service = Service(stage)
    bus, answers = await stage.bus("gateway"), await stage.bus("answers")
    await stage.witness.nats.subscribe("_INBOX_agent.>", cb=service.hear)
    await stage.witness.flush()
    async with answering_agents(bus, answers, service.respond, queue="gateway", flooding=service.flooding.append):
        try:
            yield service
        finally:
            service.may_go_on.set()


def dropped() -> float:
    return metrics.REGISTRY.get_sample_value("machete_agent_turned_away_total", {"reason": "flood"}) or 0.0


async def test_of_one_agent_that_floods_little_is_kept_the_rest_is_counted_and_others_are_served(stage: Stage):
    times, before = 1000, dropped()
    async with serving(stage) as service:
        tracemalloc.start()
        try:
            await service.flood("flooder", times)
            await service.calm_is_answered("200")
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept < times * len(BODY) / 4
        served = [each for each in service.held if not each.crowded]
        refused = [each for each in service.held if each.crowded]
        assert ([each.body for each in served], len(refused)) == ([BODY] * MOST_OF_ONE, MOST_REFUSALS_OF_ONE)
        assert {each.body for each in refused} == {b""}
        assert dropped() - before == times - MOST_OF_ONE - MOST_REFUSALS_OF_ONE
        service.may_go_on.set()
        said = {("flooder", "200"): MOST_OF_ONE, ("flooder", "429"): MOST_REFUSALS_OF_ONE, (CALM, "200"): 1}
        await eventually(lambda: service.answers == said, "all that was kept is answered")
        await service.flood("flooder", 1)
        await eventually(lambda: service.answers["flooder", "200"] == MOST_OF_ONE + 1, "it is served again")
        assert service.flooding == []


async def test_who_sends_more_than_can_be_refused_is_told_of_by_name(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.runtime.bus.agent_requests.FLOOD", 50)
    monkeypatch.setattr("libs.runtime.bus.agent_requests.WITHIN", 3600.0)
    kept = MOST_OF_ONE + MOST_REFUSALS_OF_ONE
    async with serving(stage) as service:
        await service.flood("flooder", kept + 49, b"")
        await service.flood("other", kept + 49, b"")
        await service.calm_is_answered("200")
        assert service.flooding == []
        await service.flood("flooder", 51, b"")
        await service.calm_is_answered("200")
        assert service.flooding == ["flooder", "flooder"]


async def test_of_many_agents_that_flood_together_no_more_is_kept_and_all_of_that_is_answered(stage: Stage):
    agents, each, before = 12, MOST_OF_ONE + MOST_REFUSALS_OF_ONE, dropped()
    async with serving(stage) as service:
        for number in range(agents):
            await service.flood(f"flooder-{number}", each, b"{}")
        beyond = agents * each - MOST - MOST_REFUSALS
        await eventually(lambda: dropped() - before == beyond, "the rest is counted")
        await eventually(lambda: len(service.held) == MOST + MOST_REFUSALS, "all that is kept is in hand")
        assert sum(not request.crowded for request in service.held) == MOST
        service.may_go_on.set()
        await eventually(lambda: service.answers.total() == MOST + MOST_REFUSALS, "all that was kept is answered")
        await service.calm_is_answered("200")
