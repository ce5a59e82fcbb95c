"""Which services of a stack run once: they are well when they have ended, and any other is not."""

from collections.abc import Mapping

from libs.contracts.manifest_values import Restart
from services.orchestrator.domain.container_body import engine_restart
from services.orchestrator.domain.stacks.stack import Config, part

AFTERWARDS = "service_completed_successfully"


def jobs(services: Mapping[str, Config]) -> frozenset[str]:
    """Those that another one waits to end, and those that are not to be started again after they ended."""
    awaited = {
        other
        for service in services.values()
        for other, how in part(service, "depends_on").items()
        if how.get("condition") == AFTERWARDS
    }
    return frozenset(name for name, service in services.items() if name in awaited or _runs_once(service))


def retries(service: Config) -> bool:
    """Its author has it started again when it ends: that it does is nothing unforeseen."""
    return _asked(service) not in ("", "no")


def _runs_once(service: Config) -> bool:
    restart = _asked(service)
    return restart == "no" or restart.startswith("on-failure")


def _asked(service: Config) -> str:
    if restart := service.get("restart"):
        return str(restart)
    condition = str(part(part(service, "deploy"), "restart_policy").get("condition", ""))
    return "no" if condition == "none" else condition


def restart_of(service: Config, job: bool, otherwise: Restart = "unless-stopped") -> str | None:
    """What is to be done when it ends; None leaves it to what the Compose file says under `deploy`.

    `otherwise` is the manifest's word, for services that say nothing.

    A job that failed is the operation's failure: starting it again and again would hide that.
    """
    asked = _asked(service)
    if asked in ("always", "any"):
        return engine_restart("always")
    if service.get("restart"):
        return asked
    if part(part(service, "deploy"), "restart_policy"):
        return None
    return "no" if job else engine_restart(otherwise)
