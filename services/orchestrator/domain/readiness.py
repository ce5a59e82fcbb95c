"""Is a tool that was started ready? Decided from what was seen; looking is the adapter's part."""

from dataclasses import dataclass
from typing import Literal

from services.orchestrator.domain.observations import ServiceObservation, how_it_ended
from services.orchestrator.domain.specs import ContainerSpec

FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.25
KILLED = 137
STAYS_UP = 1.0  # seconds that a tool without a port has to survive

Verdict = Literal["wait", "ready", "exited", "late"]


@dataclass(frozen=True)
class Answer:
    """What a probe met: an HTTP status, an open port (status None), or a `refusal` in words."""

    status: int | None = None
    refusal: str | None = None

    def is_good(self, spec: ContainerSpec) -> bool:
        return self.refusal is None and (spec.health_check is None or self.status == 200)

    def in_words(self, spec: ContainerSpec) -> str:
        if self.refusal is not None:
            return f"{self.refusal} on port {spec.port}"
        if self.status is not None:
            return f"HTTP {self.status} from {spec.health_check}"
        return f"port {spec.port} open"


def verdict(
    spec: ContainerSpec, service: ServiceObservation, restarts: int, answer: Answer | None, elapsed: float
) -> Verdict:
    """`restarts` is the engine's count when the waiting began: a higher one means it ended meanwhile.

    An engine that restarts what ends must not make a tool that cannot start look like one that starts slowly.
    """
    if service.state != "running" or service.restarts > restarts:
        return "exited"
    if spec.port is None:
        return "ready" if elapsed >= STAYS_UP else "wait"
    if answer is not None and answer.is_good(spec):
        return "ready"
    return "late" if elapsed >= spec.readiness else "wait"


def pause_after(attempt: int) -> float:
    """Seconds before the next probe: at once dense, so that a fast tool is not kept waiting."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 1.3**attempt)


def exit_sentence(service: ServiceObservation, *, of_stack: bool = False) -> str:
    """How one ended that was to stay up, or a job that was to end well; the way out in its author's words."""
    if service.oom:
        advice = "give it more memory"
    elif service.exit_code == KILLED:
        memory = "mem_limit" if of_stack else "resources.memory"
        advice = f"give it more memory ({memory}) if that is why; its last lines may say more"
    elif service.exit_code == 0 and not service.job:
        once = ', or say `restart: "no"` if it is to run once' if of_stack else ""
        advice = f"its command must stay in the foreground{once}"
    else:
        advice = "its last lines say why"
    # A service may have been ready, and have ended while others were waited for.
    when = "" if of_stack else " before it was ready"
    return f"{how_it_ended(service)}{when}: {advice}."


def late_sentence(spec: ContainerSpec, service: str, seen: str) -> str:
    where = f"200 from {spec.health_check}" if spec.health_check else f"an open port {spec.port}"
    return f"{service} was not ready within {spec.readiness:g} s: expected {where}, last saw {seen}."
