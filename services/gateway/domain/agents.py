"""Agents: who they are, and at which door of theirs each route of the HTTP interface stands.

The doors are derived from the routes, so that whatever is added there can be asked for here too.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from libs.contracts.principals import Principal, Role

PREFIX = "/api/v1/"
# Who there is, is for people to say: an agent neither makes agents nor removes them.
APART = frozenset({"agents"})

_PLAIN = re.compile(r"(?P<noun>[a-z]+(-[a-z]+)*)(?P<one>/\{\w+\})?(/(?P<action>[a-z]+))?")
_NAMED = {
    ("GET", False): "list",
    ("GET", True): "show",
    ("POST", False): "install",
    ("DELETE", True): "uninstall",
}
# Where the plain name would say something else.
_OWN = {("DELETE", "/api/v1/dead-letters/{id}"): "drop"}


class NoDoor(ValueError):
    """A route from which no name of a door follows."""


@dataclass(frozen=True)
class Agent:
    """`key` is the public part of the key that it proves itself with."""

    name: str
    role: Role
    key: str
    created_at: datetime

    @property
    def principal(self) -> Principal:
        return Principal(kind="agent", name=self.name, role=self.role)


@dataclass(frozen=True)
class AgentDoor:
    """`machete.agent.v1.<agent>.<noun>.<action>` asks for this route."""

    noun: str
    action: str
    method: str
    path: str

    @property
    def name(self) -> str:
        return f"{self.noun}.{self.action}"

    @property
    def parameters(self) -> tuple[str, ...]:
        """The fields that stand in the path over HTTP."""
        return tuple(re.findall(r"\{(\w+)\}", self.path))


def agent_doors(routes: Iterable[tuple[str, str]]) -> Mapping[str, AgentDoor]:
    """By name, such as `tools.restart`. Raises `NoDoor` where two routes would have one name, or one has none."""
    found: dict[str, AgentDoor] = {}
    for method, path in routes:
        if not path.startswith(PREFIX) or path.removeprefix(PREFIX).split("/")[0] in APART:
            continue
        door = _door(method, path)
        if door.name in found:
            raise NoDoor(f"{method} {path} and {found[door.name].path} would both be {door.name}")
        found[door.name] = door
    return found


def _door(method: str, path: str) -> AgentDoor:
    plain = _PLAIN.fullmatch(path.removeprefix(PREFIX))
    named = None if plain is None else plain["action"] or _NAMED.get((method, plain["one"] is not None))
    action = _OWN.get((method, path), named)
    if plain is None or action is None:
        raise NoDoor(f"{method} {path} has no name by which an agent could ask for it: see {__name__}")
    return AgentDoor(plain["noun"], action, method, path)
