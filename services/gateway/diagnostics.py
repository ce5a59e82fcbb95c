"""How the platform is, as far as the gateway can tell: what it knows itself, was told on the bus, and is answered."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from libs.contracts.engines import EngineConnected, EngineLost
from libs.contracts.queries import ListTools
from libs.contracts.streams import COMMANDS, EVENTS
from libs.contracts.subjects import ENGINE
from libs.contracts.tools import ToolState
from libs.contracts.views import Page
from libs.runtime.bus.attendance import unattended
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.quorum import nats_checks
from libs.runtime.http.problems import Problem
from libs.runtime.version import VERSION
from services.gateway.dependencies import Backend
from services.gateway.domain.earlier import Diagnostics, Part, PartHealth, ToolCounts, counted

# Seconds that each part has to answer in: who asks wants to know what is wrong, and soon.
PATIENCE = 5.0
_NOT_KNOWN = PartHealth(healthy=False, detail="not known, since NATS does not answer")


async def diagnose(backend: Backend) -> Diagnostics:
    nats = await _nats(backend.bus)
    if nats.healthy:
        (engine, engine_version), (database, tools) = await asyncio.gather(_engine(backend.bus), _database(backend))
    else:
        engine, engine_version, database, tools = _NOT_KNOWN, None, _NOT_KNOWN, None
    checks: dict[Part, PartHealth] = {"nats": nats, "engine": engine, "database": database}
    return Diagnostics(
        status="ok" if all(check.healthy for check in checks.values()) else "degraded",
        versions={
            "machete": VERSION,
            "nats": backend.bus.server_version if nats.healthy else None,
            "engine": engine_version,
        },
        checks=checks,
        tools=tools,
        checked_at=datetime.now(UTC),
    )


async def _nats(bus: Bus) -> PartHealth:
    checks = await nats_checks(bus, COMMANDS)
    healthy = all(check.ok for check in checks if check.critical)
    return PartHealth(healthy=healthy, detail="; ".join(check.detail for check in checks))


async def _engine(bus: Bus) -> tuple[PartHealth, str | None]:
    """As it was last said on the bus, and the engine's version where it answers."""
    try:
        async with asyncio.timeout(PATIENCE):
            kept = await bus.last(EVENTS, ENGINE.filter())
            watched = "orchestrator" not in await unattended(bus, COMMANDS)
    except (TimeoutError, Unavailable):
        return _NOT_KNOWN, None
    if not watched:
        return PartHealth(healthy=False, detail="not known, since no orchestrator is there"), None
    match kept.message() if kept is not None else None:
        case EngineConnected(version=version):
            return PartHealth(healthy=True, detail=f"connected: {version}"), version
        case EngineLost(reason=reason):
            return PartHealth(healthy=False, detail=reason), None
        case _:
            return PartHealth(healthy=False, detail="nothing was heard of it yet"), None


async def _database(backend: Backend) -> tuple[PartHealth, ToolCounts | None]:
    """It is asked what it is there for: all tools."""
    states: list[ToolState] = []
    after: str | None = None
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                page = await backend.ask(ListTools(limit=500, after=after), Page)
                states += [tool.state for tool in page.tools]
                after = page.next
                if after is None:
                    break
    except Problem as problem:
        return PartHealth(healthy=False, detail=str(problem.detail)), None
    except TimeoutError:
        return PartHealth(healthy=False, detail=f"no answer within {PATIENCE:g} s"), None
    return PartHealth(healthy=True, detail="it answers"), counted(states)
