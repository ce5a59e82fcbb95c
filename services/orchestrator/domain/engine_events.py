"""What an engine says about containers, in our words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.orchestrator.domain import names

# A health check or a shell runs `exec` events by the thousand; these are the ones that change what a tool is.
ACTIONS = ("create", "start", "kill", "die", "oom", "pause", "unpause", "stop", "restart", "destroy", "health_status")
# SIGHUP, SIGINT, SIGQUIT, … are said as numbers; those by which a process is meant to end, and not to do something.
_ENDING = ("2", "3", "9", "15")


@dataclass(frozen=True)
class EngineEvent:
    """`time` is the engine's, in nanoseconds; with container and action it names the event everywhere.

    `action` is one of `ACTIONS`; `kill` is a signal to end, by whomever. For `health_status`, `health` says which.
    `exit_code` comes with `die`. What is `doubtful` may be about a container that only carries the tool's labels: its
    name is none that we give, and an event does not tell whether somebody renamed ours.
    """

    container_id: str
    container: str
    tool: str
    service: str
    action: str
    time: int
    exit_code: int | None = None
    health: str | None = None
    doubtful: bool = False

    @property
    def identity(self) -> str:
        """The same for everybody who sees the event."""
        return f"{self.container_id[:24]}-{self.action}-{self.time}"


def parse_event(answer: Mapping[str, Any]) -> EngineEvent | None:
    """None for what is not about a tool's container, and for signals that are to end nothing."""
    actor: Mapping[str, Any] = answer.get("Actor", {})
    attributes: Mapping[str, str] = actor.get("Attributes", {})
    action, _, detail = str(answer.get("Action", "")).partition(":")
    if answer.get("Type") != "container" or action not in ACTIONS or names.LABEL_TOOL not in attributes:
        return None
    if action == "kill" and attributes.get("signal") not in _ENDING:
        return None
    code = attributes.get("exitCode", "")
    name = attributes.get("name", "")
    return EngineEvent(
        container_id=actor["ID"],
        container=name,
        tool=attributes[names.LABEL_TOOL],
        service=names.service_of(attributes),
        action=action,
        time=int(answer["timeNano"]),
        exit_code=int(code) if code.lstrip("-").isdigit() else None,
        health=detail.strip() or None,
        doubtful=not names.has_its_name([name] if name else [], attributes),
    )
