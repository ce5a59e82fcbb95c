"""Software agents: what they are called, where they knock, and where they are answered.

An agent asks by core request/reply. The subject proves who asks, since its NATS user may publish under its own name
only; the body is one JSON object with the fields that the same request has over HTTP, and `idempotency_key`. The
answer is what HTTP would answer, byte for byte; the status it would have is in the header `Machete-Status`.
"""

import re
from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from libs.contracts.envelope import Frozen
from libs.contracts.names import TOKEN, TOOL_NAME
from libs.contracts.principals import Role

AGENT_NAME = TOOL_NAME
AgentName = Annotated[str, StringConstraints(pattern=f"^{AGENT_NAME}$", max_length=40)]

INBOXES = "_INBOX_agent"
# Not `Status`: clients of NATS take a 503 under that name for the server's word that nobody listens.
STATUS_HEADER = "Machete-Status"

_INBOX = re.compile(rf"{INBOXES}\.(?P<agent>{AGENT_NAME})(\.{TOKEN}){{1,8}}")


def is_agent_name(text: str) -> bool:
    return re.fullmatch(AGENT_NAME, text) is not None


def agent_inbox(agent: str) -> str:
    """The prefix of an agent's inboxes: what its client calls `inbox_prefix`."""
    return f"{INBOXES}.{agent}"


def is_inbox_of(agent: str, reply: str) -> bool:
    """Whether this is a plain subject below the agent's own inbox prefix; every other one is somebody else's."""
    found = _INBOX.fullmatch(reply)
    return found is not None and found["agent"] == agent


class AgentView(Frozen):
    """One agent as the API shows it. `key` is the public part of the key that it proves itself with."""

    name: AgentName
    role: Role
    key: str = Field(description="Its public nkey.")
    created_at: datetime


class AgentList(Frozen):
    """The agents that there are, by name."""

    agents: tuple[AgentView, ...]


class NewAgent(Frozen):
    """An agent that was just added. `credentials` is the text of its credentials file; it is shown this once."""

    agent: AgentView
    credentials: str
    inbox_prefix: str = Field(description="What its NATS client has to be given as the prefix of its inboxes.")
    nats_url: str = Field(description="The NATS servers, as they are reached from the platform's machine; by commas.")
