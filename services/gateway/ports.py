"""What the gateway needs from the outside, in its own terms."""

from collections.abc import Sequence
from typing import Protocol

from libs.contracts.principals import Principal, Role
from services.gateway.domain.agents import Agent


class DatabaseAway(Exception):
    """The gateway's database does not answer; the text says why."""


class AgentExists(Exception):
    """There is an agent of this name, which is the text."""


class Accounts(Protocol):
    """Who there is."""

    async def authenticate(self, token: str) -> Principal | None:
        """Whose token it is, None if nobody's; takes the same time for every wrong one."""
        ...


class Agents(Protocol):
    """The agents that there are. Every call may raise `DatabaseAway`."""

    async def add(self, name: str, role: Role, key: str) -> Agent:
        """Raises `AgentExists`. The name of an agent that was removed may be given again."""
        ...

    async def find(self, name: str) -> Agent | None: ...

    async def all(self) -> Sequence[Agent]:
        """By name."""
        ...

    async def remove(self, name: str) -> Agent | None:
        """From now on its key proves nothing. None if there is no such agent."""
        ...
