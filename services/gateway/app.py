"""The gateway, wired."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from libs.contracts.queries import AuthenticateToken
from libs.contracts.streams import COMMANDS, DEAD_LETTERS, EVENTS, STATES
from libs.runtime import scrape
from libs.runtime.bus.backlog import fill, oldest_commands
from libs.runtime.bus.connection import Bus, Unavailable
from libs.runtime.bus.quorum import missing
from libs.runtime.bus.session import session
from libs.runtime.health import Check
from libs.runtime.logging import get_logger
from libs.runtime.service import Service
from services.gateway.adapters import token_file
from services.gateway.adapters.accounts import FirstAccount
from services.gateway.admission import Admission
from services.gateway.agency import Agency
from services.gateway.api import routes
from services.gateway.dependencies import Backend
from services.gateway.domain.waiting import Limits
from services.gateway.handlers import Authentication
from services.gateway.settings import Settings

NAME = "gateway"
# Seconds; sooner than a check is given up as one that hangs.
ANSWERS_WITHIN = 1.5

log = get_logger(__name__)


def build(settings: Settings) -> Service:
    backend, agency = Backend(settings.git_protocols), Agency(settings)
    router = routes(backend, agency)
    accounts = FirstAccount()
    connected: list[Bus] = []

    @asynccontextmanager
    async def run() -> AsyncGenerator[None]:
        token, made = token_file.ensure(settings.data)
        accounts.token = token.encode()
        if made:
            path = settings.data / token_file.NAME
            log.info("made the first token", file=str(path), use="Authorization: Bearer <what is in the file>")
        async with session(settings, NAME) as joined:
            admission = Admission(joined.bus, limits_of(settings))
            backend.open(joined.bus, settings.accept_patience, admission)
            await joined.bus.answer(AuthenticateToken, Authentication(accounts).answer, queue=NAME)
            connected.append(joined.bus)
            try:
                with (
                    scrape.looked_up(oldest_commands(joined.bus)),
                    scrape.looked_up(fill(joined.bus, COMMANDS, EVENTS, STATES, DEAD_LETTERS)),
                ):
                    async with admission.standing(), agency.standing(joined.bus, router):
                        yield
            finally:
                connected.clear()

    async def health() -> Sequence[Check]:
        if not connected or not connected[0].connected:
            return [Check("nats", False, "not connected")]
        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                problem = await missing(connected[0], COMMANDS)
        except (TimeoutError, Unavailable) as away:
            problem = f"JetStream does not answer: {away!r}"
        return [Check("nats", problem is None, "connected" if problem is None else f"connected, but {problem}")]

    return Service(NAME, router, run, health, accounts.authenticate)


def limits_of(settings: Settings) -> Limits:
    return Limits(settings.waiting_per_tool, settings.waiting_per_principal, settings.waiting_in_all)
