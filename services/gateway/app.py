"""The gateway, wired."""

import hmac
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from libs.contracts.principals import Principal
from libs.contracts.problems import Problem
from libs.contracts.queries import Answer, AuthenticateToken
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.session import session
from libs.runtime.health import Check
from libs.runtime.logging import get_logger
from libs.runtime.service import Service
from services.gateway.adapters import token_file
from services.gateway.api import Door, routes
from services.gateway.settings import Settings

NAME = "gateway"
ADMIN = Principal(kind="user", name="admin", role="admin")

log = get_logger(__name__)


@dataclass
class Accounts:
    """Who there is: one administrator, known by the token in `<data>/admin.token`."""

    token: bytes = field(default=b"", repr=False)

    async def authenticate(self, token: str) -> Principal | None:
        """Takes the same time for every wrong token."""
        known = hmac.compare_digest(self.token, token.encode(errors="replace"))
        return ADMIN if known and self.token else None

    async def answer(self, question: AuthenticateToken) -> Answer[Principal]:
        """For the services that have an HTTP edge of their own."""
        principal = await self.authenticate(question.token)
        if principal is None:
            problem = Problem(code="unauthenticated", message="The token shown is not valid here.")
            return Answer[Principal](status=401, problem=problem)
        return Answer[Principal](result=principal)


def build(settings: Settings) -> Service:
    door = Door(settings.git_protocols)
    accounts = Accounts()
    connected: list[Bus] = []

    @asynccontextmanager
    async def run() -> AsyncGenerator[None]:
        token, made = token_file.ensure(settings.data)
        accounts.token = token.encode()
        if made:
            path = settings.data / token_file.NAME
            log.info("made the first token", file=str(path), use="Authorization: Bearer <what is in the file>")
        async with session(settings, NAME) as joined:
            door.open(joined.bus, settings.accept_patience)
            await joined.bus.answer(AuthenticateToken, accounts.answer, queue=NAME)
            connected.append(joined.bus)
            try:
                yield
            finally:
                connected.clear()

    async def health() -> Sequence[Check]:
        ok = bool(connected) and connected[0].connected
        return [Check("nats", ok, "connected" if ok else "not connected")]

    return Service(NAME, routes(door), run, health, accounts.authenticate)
