"""What an engine was seen to run, and the sentences that say how it ended."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from services.orchestrator.domain import names

ContainerState = Literal["created", "running", "restarting", "paused", "removing", "exited", "dead", "missing"]
Health = Literal["healthy", "unhealthy", "starting", "none"]


# Many a service ends a few times until what it needs is there. Seconds; a list tells no more than a minute.
OFTEN, STEADY_AFTER = 5, 60.0


@dataclass(frozen=True)
class ServiceObservation:
    """One container. `exit_code` is None while it runs or never ran; `restarts` counts the engine's own.

    A `job` runs once, and is well when it has ended with 0. One that `retries` is started again when it ends, because
    its author said so. One that is `missing` should be there. One that is `cut_off` is out of a network of the tool's
    that it was made in. `service` is what it is a replica of, where that is not its name.
    """

    name: str
    state: ContainerState
    health: Health = "none"
    exit_code: int | None = None
    oom: bool = False
    container_id: str = ""
    started_at: datetime | None = None
    restarts: int = 0
    host_port: int | None = None
    job: bool = False
    retries: bool = False
    service: str = ""
    finished_at: datetime | None = None
    cut_off: bool = False

    @property
    def ran_for(self) -> float | None:
        """Seconds of its last run; None while it runs, and where the engine does not know."""
        if self.started_at is None or self.finished_at is None or self.finished_at < self.started_at:
            return None
        return (self.finished_at - self.started_at).total_seconds()

    def is_restless(self, now: datetime) -> bool:
        """Up, but the engine has started it again so often, and last so lately, that nobody can rely on it."""
        lately = self.started_at is not None and (now - self.started_at).total_seconds() < STEADY_AFTER
        return self.state == "running" and not self.job and self.restarts >= OFTEN and lately

    @property
    def belongs_to(self) -> str:
        return self.service or self.name

    @property
    def is_up(self) -> bool:
        return self.state == "running"

    @property
    def is_done(self) -> bool:
        """A job that ended well."""
        return self.job and self.state == "exited" and self.exit_code == 0 and not self.oom


@dataclass(frozen=True)
class Observation:
    """All containers of one tool, in the order of their names."""

    tool: str
    services: tuple[ServiceObservation, ...]
    observed_at: datetime


def from_inspection(answer: Mapping[str, Any]) -> ServiceObservation:
    """From the engine's `GET /containers/{id}/json`."""
    state: Mapping[str, Any] = answer["State"]
    labels: Mapping[str, str] = answer["Config"]["Labels"]
    health: Mapping[str, Health] = state.get("Health", {})
    status: ContainerState = state["Status"]
    return ServiceObservation(
        name=names.service_of(labels),
        state=status,
        health=health.get("Status", "none") if status == "running" else "none",
        exit_code=state["ExitCode"] if status in ("restarting", "exited", "dead") else None,
        oom=bool(state.get("OOMKilled")),
        container_id=answer["Id"],
        started_at=_instant(state.get("StartedAt")),
        restarts=answer.get("RestartCount") or 0,
        host_port=_port_label(labels),
        job=bool(labels.get(names.LABEL_JOB)),
        retries=bool(labels.get(names.LABEL_RETRIES)),
        service=labels.get(names.LABEL_SERVICE) or names.APP,
        finished_at=_instant(state.get("FinishedAt")) if status in ("exited", "dead") else None,
        cut_off=is_cut_off(answer, labels),
    )


def from_listing(answer: Mapping[str, Any]) -> ServiceObservation:
    """From an item of `GET /containers/json`: a running container but for its start and restarts."""
    labels: Mapping[str, str] = answer["Labels"]
    return ServiceObservation(
        name=names.service_of(labels),
        state=answer["State"],
        health=_listed_health(answer.get("Status") or ""),
        container_id=answer["Id"],
        host_port=_port_label(labels),
        job=bool(labels.get(names.LABEL_JOB)),
        retries=bool(labels.get(names.LABEL_RETRIES)),
        service=labels.get(names.LABEL_SERVICE) or names.APP,
        cut_off=is_cut_off(answer, labels),
    )


def is_cut_off(answer: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """From either answer. Whoever takes a container out of a network leaves no trace but that it is not in it."""
    host: Mapping[str, Any] = answer.get("HostConfig") or {}
    settings: Mapping[str, Any] = answer.get("NetworkSettings") or {}
    inside: Mapping[str, Any] = settings.get("Networks") or {}
    return not names.made_in(labels, host.get("NetworkMode") or "") <= inside.keys()


def needs_inspection(answer: Mapping[str, Any]) -> bool:
    """A list says that a container ended, but not how; and that it is up for some seconds, but not for which time."""
    just_up = " second" in (answer.get("Status") or "")
    return answer["State"] not in ("created", "running", "paused") or (answer["State"] == "running" and just_up)


def how_it_ended(service: ServiceObservation) -> str:
    """`app ended with exit code 1`, as the beginning of a sentence."""
    if service.oom:
        return f"{service.name} was ended for want of memory (exit code {service.exit_code})"
    if service.exit_code is None:
        return f"{service.name} ended"
    signals = {137: " (killed)", 139: " (segmentation fault)", 143: " (terminated)", 134: " (aborted)"}
    unusable = {126: " (its command is not executable)", 127: " (its command was not found)"}
    meaning = (signals | unusable).get(service.exit_code, "")
    return f"{service.name} ended with exit code {service.exit_code}{meaning}"


def _listed_health(status: str) -> Health:
    if "(healthy)" in status:
        return "healthy"
    if "(unhealthy)" in status:
        return "unhealthy"
    return "starting" if "(health: starting)" in status else "none"


def _port_label(labels: Mapping[str, str]) -> int | None:
    port = labels.get(names.LABEL_PORT, "")
    return int(port) if re.fullmatch(r"\d{1,5}", port) else None


def _instant(text: str | None) -> datetime | None:
    """The engine writes year 1 for never, and nanoseconds, which Python does not read."""
    if not text or text.startswith("0001-"):
        return None
    whole, _, fraction = text.rstrip("Z").partition(".")
    instant = datetime.strptime(whole[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return instant.replace(microsecond=int(fraction[:6].ljust(6, "0"))) if fraction.isdigit() else instant
