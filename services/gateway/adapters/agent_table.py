"""Agents' accounts in the gateway's database. Implements `ports.Agents`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from libs.contracts.principals import Role
from services.gateway.adapters.database import Database
from services.gateway.adapters.schema import AgentTable
from services.gateway.domain.agents import Agent
from services.gateway.ports import AgentExists

AGENTS = AgentTable.metadata.tables["agents"]
_THERE = AGENTS.c.revoked_at.is_(None)


@dataclass(frozen=True)
class AgentAccounts:
    database: Database

    async def add(self, name: str, role: Role, key: str) -> Agent:
        agent = Agent(name, role, key, datetime.now(UTC))

        def store(connection: Connection) -> None:
            row = {"name": name, "role": role, "key": key, "created_at": agent.created_at}
            try:
                connection.execute(insert(AGENTS).values(row))
            except IntegrityError as error:
                raise AgentExists(name) from error

        await self.database.run(store)
        return agent

    async def find(self, name: str) -> Agent | None:
        wanted = select(AGENTS).where(_THERE, AGENTS.c.name == name)
        row = await self.database.run(lambda connection: connection.execute(wanted).first())
        return None if row is None else _agent(row)

    async def all(self) -> Sequence[Agent]:
        wanted = select(AGENTS).where(_THERE)
        rows = await self.database.run(lambda connection: connection.execute(wanted).all())
        # Sorted here: databases order text as they were set up to.
        return sorted((_agent(row) for row in rows), key=lambda agent: agent.name)

    async def remove(self, name: str) -> Agent | None:
        def revoke(connection: Connection) -> Agent | None:
            row = connection.execute(select(AGENTS).where(_THERE, AGENTS.c.name == name)).first()
            if row is None:
                return None
            connection.execute(update(AGENTS).where(AGENTS.c.id == row.id).values(revoked_at=datetime.now(UTC)))
            return _agent(row)

        return await self.database.run(revoke)


def _agent(row: Row[tuple[object, ...]]) -> Agent:
    made: datetime = row.created_at
    # SQLite keeps no time zone; what is stored is UTC.
    return Agent(row.name, row.role, row.key, made if made.tzinfo else made.replace(tzinfo=UTC))
