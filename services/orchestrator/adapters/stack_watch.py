"""Watches a stack that is being started, until all of it is ready, or one of it has failed."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from libs.contracts.problems import Failure
from libs.runtime.cancellation import abandon
from libs.runtime.logging import get_logger
from services.orchestrator.adapters.engine import Engine
from services.orchestrator.adapters.feed import DockerFeed
from services.orchestrator.adapters.inspection import Inspected, inspect_container
from services.orchestrator.adapters.last_lines import last_lines
from services.orchestrator.adapters.listing import list_containers
from services.orchestrator.adapters.readiness import exit_code, wait_until_ready
from services.orchestrator.domain import names
from services.orchestrator.domain.failures import EngineAway, EngineError, NotReady, ToolExited
from services.orchestrator.domain.observations import ServiceObservation, from_inspection
from services.orchestrator.domain.readiness import exit_sentence
from services.orchestrator.domain.specs import ContainerSpec
from services.orchestrator.domain.stacks import readiness
from services.orchestrator.domain.stacks.order import dependencies, waves

log = get_logger(__name__)

LOOK_AGAIN = 1.0  # seconds, where the engine says nothing
SETTLING = 0.1
LONG_AGO = 3600 * 10**9  # nanoseconds: longer than anybody waits for a stack
ENDS_AGAIN = 3.0  # seconds that a failed service is waited for to fail again


class Run(NamedTuple):
    """A container's last start, and how often the engine had started it again by then."""

    started_at: str
    restarts: int


_NEVER = Run("", 0)


@dataclass(frozen=True)
class StackWatch:
    """How long a run has lasted is counted from when it was first seen: the engine's clock may be another."""

    engine: Engine
    instance: str
    tool: str
    _first_seen: dict[tuple[str, Run], float] = field(
        default_factory=dict[tuple[str, Run], float], compare=False, repr=False
    )

    async def runs(self) -> dict[str, Run]:
        """Of every container, by its id: what ended of it is no news, and what runs has lasted."""
        runs = {each["Id"]: _run(each) for each in await self._inspected()}
        self._first_seen.update(dict.fromkeys(runs.items(), -math.inf))
        return runs

    async def until_failure(self, before: Mapping[str, Run]) -> None:
        """Never returns; raises ToolExited or NotReady as soon as a service fails that has run since `before`."""
        async with self._news() as news:
            while True:
                await self.check(before)
                await _within(LOOK_AGAIN, news)

    async def check(self, before: Mapping[str, Run]) -> None:
        """Raises as `until_failure` does, if there is reason to now; one that ended and runs again is reason enough."""
        inspected = [each for each in await self._inspected() if before.get(each["Id"]) != _run(each)]
        # A start by hand makes the engine count from 0 again.
        counted = {each["Id"]: min(before.get(each["Id"], _NEVER).restarts, _run(each).restarts) for each in inspected}
        await self._look(inspected, counted)

    async def unstartable(self) -> tuple[str, str] | None:
        """A service that the engine could not start, and what it said of it."""
        found = ((_service(each), str(each["State"].get("Error") or "")) for each in await self._inspected())
        return next(((service, said) for service, said in found if said), None)

    async def until_ready(self, patience: float, answered: asyncio.Event) -> None:
        """Returns when every service is, and `answered` is set; raises ToolExited or NotReady.

        They have `patience` seconds from now; what sets `answered` has a patience of its own.
        """
        began = time.monotonic()
        restarts: dict[str, int] = {}
        async with self._news() as news:
            while (waiting := await self._unready(restarts)) or not answered.is_set():
                if waiting and time.monotonic() - began >= patience:
                    raise await self._late(waiting, patience)
                settling = any(service.is_up and service.health == "none" for service in waiting)
                await _within(SETTLING if settling else LOOK_AGAIN, news, *([] if waiting else [answered]))

    @asynccontextmanager
    async def _news(self) -> AsyncGenerator[asyncio.Event]:
        """Set whenever something happens to a container of the tool; looking all the time would slow what starts.

        Where the engine says nothing any more, the slow look remains, and tells why.
        """
        happened = asyncio.Event()

        async def listen() -> None:
            feed = DockerFeed(self.engine, self.instance, tool=self.tool)
            async with aclosing(feed.events(time.time_ns())) as events:
                try:
                    async for _ in events:
                        happened.set()
                except EngineAway as away:
                    log.info("the engine's events have ended; looking on without them", problem=away.message)

        listening = asyncio.ensure_future(listen())
        try:
            yield happened
        finally:
            await abandon(listening)

    async def front(self, spec: ContainerSpec, service: str, host_port: int | None) -> None:
        """Returns when the service that people open answers as `spec` says. How often it may end, others know."""
        feed = DockerFeed(self.engine, self.instance)
        while True:
            container = next((each for each in await self._inspected() if _service(each) == service), None)
            if container is None:
                raise EngineError("compose_failed", f"{service} has no container, although the stack was started.")
            try:
                return await wait_until_ready(self.engine, feed, spec, container["Id"], host_port)
            except ToolExited:
                if not from_inspection(container).retries:
                    raise
            await asyncio.sleep(SETTLING)

    async def _unready(self, restarts: dict[str, int]) -> list[ServiceObservation]:
        """`restarts` remembers what the engine had counted at the first look."""
        inspected = await self._inspected()
        for each in inspected:
            restarts.setdefault(each["Id"], _run(each).restarts)
        return await self._look(inspected, restarts)

    async def _look(self, inspected: list[Inspected], restarts: Mapping[str, int]) -> list[ServiceObservation]:
        """Those that are not ready yet. `restarts` is what the engine had counted of each when the waiting began."""
        seen = {each["Id"]: from_inspection(each) for each in inspected}
        lasted = {each["Id"]: self._lasted(each) for each in inspected}
        verdicts: dict[str, readiness.Verdict] = {
            id: readiness.verdict(service, restarts[id], lasted[id]) for id, service in seen.items()
        }
        if guilty := readiness.worst(verdicts, _blame(inspected)):
            raise await self._failed(seen[guilty], verdicts[guilty], next(e for e in inspected if e["Id"] == guilty))
        return [seen[id] for id, each in verdicts.items() if each == "wait"]

    def _lasted(self, inspected: Inspected) -> float:
        now = time.monotonic()
        return now - self._first_seen.setdefault((inspected["Id"], _run(inspected)), now)

    async def _failed(self, service: ServiceObservation, how: readiness.Verdict, inspected: Inspected) -> Failure:
        log = await self._last_lines(service, ended=how == "exited")
        if how == "unhealthy":
            said = _health_output(inspected)
            return NotReady(readiness.unhealthy_sentence(service, said), said, log)
        if service.exit_code is None:
            service = replace(service, exit_code=await self._exit(service.container_id))
        return ToolExited(exit_sentence(service, of_stack=True), service.exit_code, service.oom, log)

    async def _exit(self, container: str) -> int | None:
        """How it ended last, of one that the engine has started again by now."""
        feed = DockerFeed(self.engine, self.instance)
        known = await feed.ends(container, await feed.now() - LONG_AGO)
        if known:
            return known[-1][1]
        try:  # the engine has forgotten it: most likely it ends once more as it did
            async with asyncio.timeout(ENDS_AGAIN):
                return await exit_code(self.engine, container)
        except TimeoutError:
            return None

    async def _late(self, waiting: list[ServiceObservation], patience: float) -> NotReady:
        log = await self._last_lines(waiting[0], ended=False)
        return NotReady(readiness.late_sentence(waiting, patience), waiting[0].health, log)

    async def _last_lines(self, service: ServiceObservation, *, ended: bool) -> list[str]:
        return await last_lines(DockerFeed(self.engine, self.instance), service.container_id, ended=ended)

    async def _inspected(self) -> list[Inspected]:
        listed = await list_containers(self.engine, self.instance, self.tool)
        found = await asyncio.gather(*(inspect_container(self.engine, each["Id"]) for each in listed))
        return [each for each in found if each is not None]


async def _within(seconds: float, news: asyncio.Event, *others: asyncio.Event) -> None:
    """Returns when one of them is set, so many seconds later at the latest; news are taken note of."""
    waits = [asyncio.ensure_future(event.wait()) for event in (news, *others)]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    news.clear()


def _run(inspected: Inspected) -> Run:
    return Run(inspected["State"]["StartedAt"], inspected["RestartCount"])


def _service(inspected: Inspected) -> str:
    return names.service_of(inspected["Config"]["Labels"])


def _blame(inspected: list[Inspected]) -> list[str]:
    """Containers in the order in which their failure explains the others': what others depend on first."""
    by_service = {each["Config"]["Labels"].get(names.LABEL_COMPOSE_SERVICE, ""): each for each in inspected}
    needs = {
        name: dependencies(each["Config"]["Labels"].get(names.LABEL_DEPENDS_ON, ""))
        for name, each in by_service.items()
    }
    return [by_service[name]["Id"] for wave in reversed(waves(needs)) for name in sorted(wave)]


def _health_output(inspected: Inspected) -> str:
    log = (inspected["State"].get("Health") or {}).get("Log") or []
    return " ".join(str(log[-1].get("Output", "")).split())[:300] if log else ""
