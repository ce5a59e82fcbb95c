"""Whether this process takes requests yet, and whether it is about to stop."""

import asyncio
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection


@dataclass
class Lifecycle:
    """`serving` from when every service has started; `stopping` is set once, for good."""

    serving: bool = True
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


def stopping(connection: HTTPConnection) -> asyncio.Event:
    """Set when the process stops: an answer that waits or follows for long ends by itself then."""
    return connection.scope["state"]["stopping"]
