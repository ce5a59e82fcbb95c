"""The agents that there are, over HTTP: for administrators, who alone add and remove them."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from libs.contracts.agents import AgentList, NewAgent, agent_inbox, is_agent_name
from libs.contracts.principals import Role
from services.gateway import fields, problems
from services.gateway.agency import Agency
from services.gateway.dependencies import caller, refusals
from services.gateway.ports import AgentExists, DatabaseAway

_AWAY = {503: "`database_away`"}


class AgentBody(BaseModel):
    """Who is to be let in."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"name": "night-watch", "role": "operator"}]}
    )
    name: str = Field(description="1 to 40 of a-z, 0-9 and -.", max_length=fields.LONGEST_NAME)
    role: Role = Field("viewer", description="What it may ask for.")


@contextmanager
def _database() -> Generator[None]:
    try:
        yield
    except AgentExists as exists:
        raise problems.agent_exists(str(exists)) from exists
    except DatabaseAway as away:
        raise problems.database_away(str(away)) from away


def add_agents(router: APIRouter, agency: Agency) -> None:
    @router.get(
        "/api/v1/agents",
        tags=["agents"],
        response_model=AgentList,
        dependencies=[Depends(caller)],
        responses=refusals(_AWAY),
    )
    async def list_agents(query: Annotated[fields.NoQuery, Query()]) -> AgentList:
        """The agents that may connect, by name."""
        with _database():
            return AgentList(agents=tuple(agency.view(agent) for agent in await agency.accounts.all()))

    @router.post(
        "/api/v1/agents",
        tags=["agents"],
        status_code=201,
        response_model=NewAgent,
        dependencies=[Depends(caller)],
        responses=refusals(
            {409: "`agent_exists`", 422: "`agent_name_invalid`", 503: "`agents_unavailable`, `database_away`"}
        ),
    )
    async def add_agent(body: AgentBody, query: Annotated[fields.NoQuery, Query()], response: Response) -> NewAgent:
        """Let an agent in. The answer holds its credentials file, which is stored nowhere and shown this once."""
        if not is_agent_name(body.name):
            raise problems.bad_agent_name(body.name)
        if agency.issuer is None:
            raise problems.agents_unavailable()
        with _database():
            agent, credentials = await agency.add(body.name, body.role, agency.issuer)
        response.headers["Cache-Control"] = "no-store"
        return NewAgent(
            agent=agency.view(agent),
            credentials=credentials,
            inbox_prefix=agent_inbox(body.name),
            nats_url=agency.nats_url,
        )

    @router.delete(
        "/api/v1/agents/{name}",
        tags=["agents"],
        status_code=204,
        dependencies=[Depends(caller)],
        responses=refusals({404: "`agent_not_found`", **_AWAY}),
    )
    async def remove_agent(
        name: Annotated[str, Path(description="The agent's name.", max_length=fields.LONGEST_NAME)],
        query: Annotated[fields.NoQuery, Query()],
        body: fields.Nothing = None,
    ) -> Response:
        """Let an agent in no more: its requests are refused from now on, and its connections are ended."""
        with _database():
            removed = await agency.remove(name)
        if removed is None:
            raise problems.no_agent(name)
        return Response(status_code=204)
