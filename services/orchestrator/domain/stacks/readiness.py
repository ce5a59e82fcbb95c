"""Is a stack that was started ready? The worst news wins, and none of it is waited for."""

from collections.abc import Iterable, Mapping
from typing import Literal

from services.orchestrator.domain.observations import ServiceObservation

STAYS_UP = 0.5  # seconds that a service which says nothing of its health has to survive
MOST_RETRIES = 5  # of a service whose author has it started again when it ends

Verdict = Literal["wait", "ready", "exited", "unhealthy"]


def verdict(service: ServiceObservation, restarts: int, lasted: float) -> Verdict:
    """Of one service, whose run has lasted for so many seconds.

    `restarts` is the engine's count when the waiting began: a higher one means it ended meanwhile.

    One that is to be started again may end a few times: many a service ends until its database is there. The end of a
    job is not waited for, as what depends on it waits for it before it starts; but one that fails at once is told.
    """
    again = service.restarts - restarts
    has_ended = service.state in ("exited", "dead", "restarting") or again > 0
    if has_ended and not (service.retries and again < MOST_RETRIES and service.state in ("running", "restarting")):
        return "ready" if service.is_done else "exited"
    if service.state != "running":
        return "wait"
    if service.health != "none":
        waits: Mapping[str, Verdict] = {"healthy": "ready", "unhealthy": "unhealthy", "starting": "wait"}
        return waits[service.health]
    return "ready" if lasted >= STAYS_UP else "wait"


def worst(verdicts: Mapping[str, Verdict], order: Iterable[str]) -> str | None:
    """The service to blame: of those that failed, the first in the order of what is waited for."""
    failed = [name for name, each in verdicts.items() if each in ("exited", "unhealthy")]
    return next((name for name in order if name in failed), failed[0] if failed else None)


def unstartable_sentence(service: str, said: str) -> str:
    """Of the runtime's words only the last are about the service."""
    cause = said.rpartition("unable to start container process: ")[2].removesuffix(": unknown").strip().rstrip(".")
    return f"{service} could not be started: {cause}: check its command, user and mounts in the Compose file."


def unhealthy_sentence(service: ServiceObservation, said: str) -> str:
    last = f", which last said: {said}" if said else ""
    return f"{service.name} is unhealthy by its own health check{last}."


def late_sentence(waiting: Iterable[ServiceObservation], seconds: float) -> str:
    names = ", ".join(_stand(service) for service in waiting)
    return f"The stack was not ready within {seconds:g} s: {names}. Say machete.readiness_timeout if it needs longer."


def _stand(service: ServiceObservation) -> str:
    return f"{service.name} is {service.health if service.health == 'starting' else service.state}"
