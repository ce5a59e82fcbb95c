"""In which state is a tool? Decided from what it should do and what its containers were seen to do."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from libs.contracts.tools import Desired, ToolState
from services.orchestrator.domain.observations import ServiceObservation, how_it_ended

Activity = Literal["installing", "building", "starting", "stopping", "removing"]


def tool_state(
    desired: Desired,
    services: Sequence[ServiceObservation] | None,
    *,
    activity: Activity | None = None,
    failure: str | None = None,
    seen_at: datetime | None = None,
) -> tuple[ToolState, str | None]:
    """The state and, where it is not as it should be, the reason in one sentence.

    Whether what runs has run for long enough is judged as of `seen_at`, where that is known.

    `services` None: the engine does not answer. `activity` is what an operation is doing to the tool right
    now. A job is well when it has ended with 0; any other service is not.
    `failure` says why the last operation left the tool broken; what runs shows that it no longer is.
    """
    if services is None:
        return ToolState.UNKNOWN, "The Docker Engine does not answer."
    servers = [service for service in services if not service.is_done]
    if activity in ("installing", "building") and not any(service.is_up for service in servers):
        return (ToolState.PENDING if activity == "installing" else ToolState.BUILDING), None
    if activity == "starting":
        return ToolState.STARTING, None
    if desired == "stopped":
        return _while_stopped(servers, activity, failure)
    return _while_wanted(services, servers, failure, seen_at)


def _while_stopped(
    servers: Sequence[ServiceObservation], activity: Activity | None, failure: str | None
) -> tuple[ToolState, str | None]:
    if any(service.state in ("running", "restarting", "paused") for service in servers):
        outside = None if activity else "It was started outside MACHETE."
        return ToolState.RUNNING, outside
    if failure:
        return ToolState.FAILED, failure
    return ToolState.STOPPED, None


def _while_wanted(
    services: Sequence[ServiceObservation],
    servers: Sequence[ServiceObservation],
    failure: str | None,
    seen_at: datetime | None,
) -> tuple[ToolState, str | None]:
    if all(service.state == "missing" for service in services):
        what = "its container is" if len(services) < 2 else "its containers are"
        return ToolState.FAILED, failure or f"It should run, but {what} gone: start it again."
    troubles = [trouble for service in servers if (trouble := _trouble(service, seen_at))]
    if troubles:
        half_up = any(service.state in ("running", "paused") for service in servers)
        return (ToolState.DEGRADED if half_up else ToolState.FAILED), " ".join(troubles)
    if any(service.health == "starting" for service in servers):
        return ToolState.STARTING, None
    return ToolState.RUNNING, None


_OUT_OF_ORDER = {
    "paused": "is paused.",
    "created": "was not started.",
    "missing": "is gone: start the tool again.",
}


def _trouble(service: ServiceObservation, seen_at: datetime | None) -> str | None:
    match service.state:
        case "running":
            return _trouble_while_up(service, seen_at)
        case "paused" | "created" | "missing":
            return f"{service.name} {_OUT_OF_ORDER[service.state]}"
        case "restarting":
            return (
                f"{how_it_ended(service)} and is being restarted ({service.restarts} times so far): its log says why."
            )
        case _ if service.exit_code == 0:
            return f"{service.name} ended with exit code 0, though it should keep running."
        case _:
            return f"{how_it_ended(service)}."


def _trouble_while_up(service: ServiceObservation, seen_at: datetime | None) -> str | None:
    if service.cut_off and not service.job:  # nothing starts a job again: it ends by itself
        return f"{service.name} was taken out of its network: start the tool again."
    if seen_at is not None and service.is_restless(seen_at):
        times = f"{service.restarts} times, last less than a minute ago"
        return f"{service.name} was started again {times}: its log says why."
    return f"{service.name} says that it is unhealthy." if service.health == "unhealthy" else None
