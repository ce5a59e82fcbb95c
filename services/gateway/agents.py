"""What becomes of an agent's request: the route that the same request would reach over HTTP is asked, in its name.

So both doors check, carry out and answer alike, whatever is added to them. The role comes from the account, and is
looked up each time: an agent that was removed is nobody from that moment on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from libs.runtime import metrics
from libs.runtime.bus.agent_requests import AgentRequest, Reply
from libs.runtime.http.inside import Asked, Inside
from libs.runtime.http.limits import refuse_broken_text
from libs.runtime.http.problems import Problem
from libs.runtime.logging import get_logger
from services.gateway import problems
from services.gateway.domain.agents import Agent, AgentDoor
from services.gateway.ports import Agents, DatabaseAway

MAX_BODY = 256 * 1024
KEY = "idempotency_key"
# What of HTTP's headers goes along, as NATS clients write them.
_HEADERS = ("Content-Type", "Location", "Machete-Position", "Retry-After")
_NO_DOOR = "unknown"

log = get_logger(__name__)


@dataclass(frozen=True)
class AgentEdge:
    """`doors` by name, such as `tools.restart`."""

    accounts: Agents
    inside: Inside
    doors: Mapping[str, AgentDoor]

    async def respond(self, request: AgentRequest) -> Reply:
        """What HTTP would answer; whatever goes wrong is an answer too."""
        began = time.perf_counter()
        try:
            reply = await self._reply(request)
        except Problem as problem:
            reply = _said(problem)
        except DatabaseAway as away:
            reply = _said(problems.database_away(str(away)))
        except Exception:
            log.exception("an agent's request failed", agent=request.agent, door=request.door)
            reply = _said(problems.internal_error())
        metrics.agent_answered(request.door if request.door in self.doors else _NO_DOOR, reply.status)
        log.info(
            "agent's request",
            principal=f"agent:{request.agent}",
            door=request.door,
            status=reply.status,
            ms=round((time.perf_counter() - began) * 1000, 1),
        )
        return reply

    async def _reply(self, request: AgentRequest) -> Reply:
        if request.crowded:
            raise problems.crowded()
        agent = await self.accounts.find(request.agent)
        if agent is None:
            raise problems.unknown_agent(request.agent)
        door = self.doors.get(request.door)
        if door is None:
            raise problems.no_such_door(request.door, self.doors)
        answered = await self.inside.ask(self._asked(door, agent, _fields(request.body)))
        return Reply(answered.status, _headers(answered.headers), answered.body)

    def _asked(self, door: AgentDoor, agent: Agent, fields: dict[str, Any]) -> Asked:
        """The fields of one object, each put where HTTP has it: path, header, query, body."""
        parameters = {name: _text(fields.pop(name, None), name) for name in door.parameters}
        headers = {"Idempotency-Key": _text(fields.pop(KEY), KEY)} if fields.get(KEY) is not None else {}
        queried = self.inside.query_of(door.method, door.path)
        takes_body, needs_body = self.inside.takes_body(door.method, door.path)
        query = {name: value for name, value in fields.items() if name in queried or not takes_body}
        rest = {name: value for name, value in fields.items() if name not in query}
        return Asked(
            method=door.method,
            path=door.path,
            by=agent.principal,
            parameters=parameters,
            query={name: _plain(value) for name, value in query.items() if value is not None},
            headers=headers,
            body=json.dumps(rest).encode() if rest or needs_body else None,
        )


def _fields(body: bytes) -> dict[str, Any]:
    """The object that a body holds, empty for none. Raises `Problem`."""
    if len(body) > MAX_BODY:
        raise problems.body_too_large(MAX_BODY)
    if not body.strip():
        return {}
    refuse_broken_text(body)
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise problems.body_not_json(str(error) or "it is nested too deeply") from error
    if not isinstance(found, dict):
        raise problems.body_no_object()
    return cast(dict[str, Any], found)


def _text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise problems.field_no_text(field, value)
    return value


def _plain(value: object) -> str:
    """As it would stand in a query."""
    return value if isinstance(value, str) else json.dumps(value)


def _headers(found: Mapping[str, str]) -> dict[str, str]:
    return {name: found[name.lower()] for name in _HEADERS if name.lower() in found}


def _said(problem: Problem) -> Reply:
    response = problem.response()
    return Reply(response.status_code, _headers(response.headers), bytes(response.body))
