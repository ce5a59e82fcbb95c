"""All that there is for agents while the gateway runs: their accounts, their way into NATS, and their answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import APIRouter
from pydantic import SecretStr

from libs.contracts.agents import AgentView
from libs.contracts.principals import Role
from libs.runtime import nats_issuer
from libs.runtime.bus.agent_auth import authorizing_agents, disconnect
from libs.runtime.bus.agent_requests import answering_agents
from libs.runtime.bus.connecting import connect
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.session import break_when
from libs.runtime.cancellation import abandon
from libs.runtime.http.inside import Inside
from libs.runtime.logging import get_logger
from libs.runtime.nats_callout import credentials
from libs.runtime.nats_keys import Issuer, credentials_file, issuer_of, new_user
from libs.runtime.settings import SettingsError
from services.gateway.agents import AgentEdge
from services.gateway.domain.agents import Agent, agent_doors
from services.gateway.domain.roles import NEEDED
from services.gateway.ports import Agents, DatabaseAway
from services.gateway.settings import Settings

NAME = QUEUE = "gateway"
# Who was being let in while he was removed is in by then: the server waits no longer for an answer.
SECOND_LOOK = 3.0

log = get_logger(__name__)


class Agency:
    """`accounts` are there while the gateway runs. Without an `issuer`, agents can be listed and none can connect."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tasks: set[asyncio.Task[None]] = set()
        self._flooding: set[str] = set()
        self.accounts: Agents
        self.issuer: Issuer | None = None

    @property
    def nats_url(self) -> str:
        """Where agents find NATS; not every service sees it under the same address."""
        return self._settings.agents_nats_url or self._settings.nats_url

    async def add(self, name: str, role: Role, issuer: Issuer) -> tuple[Agent, str]:
        """The agent and the text of its credentials file. Raises `AgentExists` and `DatabaseAway`."""
        user = new_user()
        agent = await self.accounts.add(name, role, user.public)
        log.info("an agent was added", agent=name, role=role, key=user.public)
        return agent, credentials_file(user, credentials(issuer, name, user))

    async def remove(self, name: str) -> Agent | None:
        """None if there is no such agent. Raises `DatabaseAway`."""
        removed = await self.accounts.remove(name)
        if removed is not None:
            log.info("an agent was removed", agent=name)
            self._in_background(self._send_away(removed.key))
        return removed

    @staticmethod
    def view(agent: Agent) -> AgentView:
        return AgentView(name=agent.name, role=agent.role, key=agent.key, created_at=agent.created_at)

    @asynccontextmanager
    async def standing(self, bus: Bus, router: APIRouter) -> AsyncGenerator[None]:
        """From here on agents are let in and answered by these routes. Raises `DatabaseAway` and `SettingsError`."""
        # SQLAlchemy is slow to import; what only names this service does without.
        from services.gateway.adapters.agent_table import AgentAccounts
        from services.gateway.adapters.database import Database

        database = await Database.opened(self._address())
        try:
            self.accounts = AgentAccounts(database)
            self.issuer = self._key()
            if self.issuer is None:
                log.info("no agent can connect: there is no key to sign with who may", setting="MACHETE_AGENTS_KEY")
                yield
            else:
                async with self._door(bus, router, self.issuer):
                    yield
        finally:
            await abandon(*self._tasks)
            await database.close()

    @asynccontextmanager
    async def _door(self, bus: Bus, router: APIRouter, issuer: Issuer) -> AsyncGenerator[None]:
        stopping, closed = asyncio.Event(), asyncio.Event()
        edge = AgentEdge(self.accounts, Inside(router, stopping), agent_doors(NEEDED))

        async def known() -> list[tuple[str, str]]:
            return [(agent.name, agent.key) for agent in await self.accounts.all()]

        async with AsyncExitStack() as stack:
            answers = await stack.enter_async_context(self._as("answers", self._settings.answers_password, closed.set))
            user, password = self._settings.nats_credentials(NAME)
            hearing = await stack.enter_async_context(
                connect(
                    self._settings.nats_url,
                    user=user,
                    password=password,
                    service=NAME,
                    source=bus.source,
                    on_closed=closed.set,
                )
            )
            group = await stack.enter_async_context(asyncio.TaskGroup())
            watching = group.create_task(break_when(closed))
            await stack.enter_async_context(authorizing_agents(bus, issuer, known, queue=QUEUE))
            await stack.enter_async_context(
                answering_agents(hearing, answers, edge.respond, queue=QUEUE, flooding=self._is_flooding)
            )
            self._in_background(self._send_away_the_removed())
            try:
                yield
            finally:
                stopping.set()
                watching.cancel()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """What the removed ask for is refused already: this only ends their listening."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _is_flooding(self, agent: str) -> None:
        """Called by who hears agents: each connection of this one is ended, and it has to come again."""
        if agent not in self._flooding:
            log.warning("an agent is sent away: it asks faster than it can be refused", agent=agent)
            self._flooding.add(agent)
            self._in_background(self._send_away_flooding(agent))

    async def _send_away_flooding(self, agent: str) -> None:
        try:
            keys = {each.key for each in await self.accounts.all() if each.name == agent}
            await self._disconnect(lambda key: key in keys)
        except DatabaseAway as problem:
            log.warning("it is not known whose connection floods", agent=agent, problem=str(problem))
        finally:
            self._flooding.discard(agent)

    async def _send_away(self, key: str) -> None:
        await self._disconnect(lambda each: each == key)
        await asyncio.sleep(SECOND_LOOK)
        await self._disconnect(lambda each: each == key)

    async def _send_away_the_removed(self) -> None:
        """A gateway that removed an agent may have died before it ended its connections."""
        try:
            there = {agent.key for agent in await self.accounts.all()}
        except DatabaseAway as problem:
            log.warning("it is not known which agents were removed", problem=str(problem))
            return
        await self._disconnect(lambda each: each not in there)

    async def _disconnect(self, gone: Callable[[str], bool]) -> None:
        """A connection of its own for each time: most platforms never need one."""
        try:
            ended = await disconnect(self._as("warden", self._settings.warden_password), gone)
        except (Unavailable, SettingsError) as problem:
            log.error("connections of agents that are to go may still be there", problem=str(problem))
        else:
            if ended:
                log.info("connections of agents were ended", count=ended)

    def _as(
        self, user: str, given: SecretStr | None, on_closed: Callable[[], None] | None = None
    ) -> AbstractAsyncContextManager[Bus]:
        """A connection as another NATS user of the gateway's. Raises `SettingsError`."""
        password = given.get_secret_value() if given is not None else self._settings.stored_password(user)
        source = f"gateway/{user}"
        return connect(
            self._settings.nats_url, user=user, password=password, service=user, source=source, on_closed=on_closed
        )

    def _key(self) -> Issuer | None:
        """Raises `SettingsError` and `BadCredentials`."""
        if (given := self._settings.agents_key) is not None:
            try:
                return issuer_of(given.get_secret_value())
            except ValueError as error:
                raise SettingsError(f"MACHETE_AGENTS_KEY: {error}") from None
        path = self._settings.data / "nats" / nats_issuer.NAME
        return nats_issuer.read(path) if path.exists() else None

    def _address(self) -> str:
        from services.gateway.adapters.database import file_address

        given = self._settings.gateway_database
        if given is not None:
            return given.get_secret_value()
        return file_address(self._settings.data / "gateway" / "gateway.db")
