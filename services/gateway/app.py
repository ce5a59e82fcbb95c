"""The gateway, wired."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager

from libs.contracts.queries import AuthenticateToken
from libs.contracts.streams import COMMANDS, DEAD_LETTERS, EVENTS, STATES
from libs.runtime import scrape
from libs.runtime.bus.attendance import unattended
from libs.runtime.bus.backlog import fill, oldest_commands
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.quorum import ANSWERS_WITHIN, nats_checks
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
        if not connected:
            return [Check("nats", False, "not started")]
        nats, workers = await asyncio.gather(nats_checks(connected[0], COMMANDS), _workers(connected[0]))
        return [*nats, *workers]

    return Service(NAME, router, run, health, accounts.authenticate)


async def _workers(bus: Bus) -> list[Check]:
    try:
        async with asyncio.timeout(ANSWERS_WITHIN):
            return workers_of(await unattended(bus, COMMANDS))
    except (TimeoutError, Unavailable):
        detail = "not known: NATS does not say who takes commands"
        return [Check(consumer.name, False, detail, critical=False) for consumer in COMMANDS.consumers]


def workers_of(alone: Collection[str]) -> list[Check]:
    """Each process speaks for itself; of those that are not there, who accepts what they are to do has to speak."""
    missing = "nobody takes its commands: start one, or see why it does not reach NATS"
    means = {
        "installer": "Installs wait until then.",
        "orchestrator": "Until then commands wait, and tools are shown as they were when one was last there.",
    }
    return [
        Check(name, name not in alone, f"{missing}. {means[name]}" if name in alone else "it is there", critical=False)
        for name in (consumer.name for consumer in COMMANDS.consumers)
    ]


def limits_of(settings: Settings) -> Limits:
    return Limits(settings.waiting_per_tool, settings.waiting_per_principal, settings.waiting_in_all)
