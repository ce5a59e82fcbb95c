"""Is this process well? Each service says what it depends on; the worst news wins."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from libs.runtime import metrics
from libs.runtime.logging import bind, get_logger
from libs.runtime.masking import masked
from libs.runtime.version import VERSION

# A check that hangs is a check that fails; whoever asks gives up soon after.
PATIENCE = 2.0

log = get_logger(__name__)


@dataclass(frozen=True)
class Check:
    """One thing a service needs. While a critical one fails the service is not ready, else it is degraded."""

    name: str
    ok: bool
    detail: str = ""
    critical: bool = True


class CheckReport(BaseModel):
    ok: bool
    detail: str


class ServiceReport(BaseModel):
    ready: bool
    checks: dict[str, CheckReport]


class HealthReport(BaseModel):
    """`live`: the process answers. `ready`: every service can do its work."""

    status: Literal["ok", "degraded", "down"]
    live: bool = True
    ready: bool
    version: str = VERSION
    services: dict[str, ServiceReport]


Ask = Callable[[], Awaitable[Sequence[Check]]]


class Health:
    """Asks the services of one process. Who asks while an answer is on its way gets that one."""

    def __init__(self, services: Mapping[str, Ask]) -> None:
        self._services = dict(services)
        self._started: set[str] = set()
        self._asking: asyncio.Task[HealthReport] | None = None

    def started(self, service: str) -> None:
        """From now on the service is asked; before, it is only said to be starting."""
        self._started.add(service)

    async def report(self) -> HealthReport:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_all())
        return await asyncio.shield(self._asking)

    async def _ask_all(self) -> HealthReport:
        answers = await asyncio.gather(*(self._ask(name, ask) for name, ask in self._services.items()))
        checks = dict(zip(self._services, answers, strict=True))
        for service, found in checks.items():
            for check in found:
                metrics.check_ok.labels(service, check.name).set(check.ok)
        return summary(checks)

    async def _ask(self, name: str, ask: Ask) -> Sequence[Check]:
        if name not in self._started:
            return [Check("start", ok=False, detail="it is starting")]
        with bind(service=name):
            try:
                async with asyncio.timeout(PATIENCE):
                    return await ask()
            except TimeoutError:
                return [Check("health", ok=False, detail=f"no answer within {PATIENCE:g} s")]
            except Exception:
                log.exception("a health check broke")
                return [Check("health", ok=False, detail="the check itself broke; its log says why")]


def summary(checks: Mapping[str, Sequence[Check]]) -> HealthReport:
    """What the checks of all services come to."""
    services = {
        service: ServiceReport(
            ready=all(check.ok for check in found if check.critical),
            checks={check.name: CheckReport(ok=check.ok, detail=masked(check.detail)) for check in found},
        )
        for service, found in checks.items()
    }
    ready = all(service.ready for service in services.values())
    flawless = all(check.ok for found in checks.values() for check in found)
    return HealthReport(status="ok" if flawless else "degraded" if ready else "down", ready=ready, services=services)
