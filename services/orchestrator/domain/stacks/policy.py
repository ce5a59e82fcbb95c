"""What a stack may ask of the host, judged on Compose's own merged and interpolated configuration.

Only what is known passes: a key that no rule knows is refused by name, so a later Compose that can do more gives
a tool nothing more. What is known is harmless, judged by a rule, or settled when the configuration is resolved.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from libs.contracts.problems import Failure
from services.orchestrator.domain.stacks.policy_counts import ALL_CONTAINERS, ALL_NETWORKS, ALL_PORTS
from services.orchestrator.domain.stacks.policy_names import ALL_NAMES
from services.orchestrator.domain.stacks.policy_resources import CONFIG, NETWORK, SECRET, VOLUME
from services.orchestrator.domain.stacks.policy_rules import (
    Judged,
    Refusal,
    anything,
    as_mapping,
    every,
    named,
    never,
    shape,
)
from services.orchestrator.domain.stacks.policy_services import SERVICE

_SERVICE_NAME = r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}"
_RESOURCE_NAME = r"[a-zA-Z0-9._-]{1,128}"
_BAD_SERVICE_NAME = "a service is called by letters, digits, dots, dashes and underscores, at most 63, none leading"
_BAD_NAME = "names are letters, digits, dots, dashes and underscores, at most 128"

_STACK = shape(
    {
        "name": anything,  # the tool's own id takes its place
        "version": anything,
        "services": every(named(_SERVICE_NAME, _BAD_SERVICE_NAME, SERVICE), ALL_CONTAINERS, ALL_PORTS, ALL_NAMES),
        "networks": every(named(_RESOURCE_NAME, _BAD_NAME, NETWORK), ALL_NETWORKS),
        "volumes": named(_RESOURCE_NAME, _BAD_NAME, VOLUME),
        "secrets": named(_RESOURCE_NAME, _BAD_NAME, SECRET),
        "configs": named(_RESOURCE_NAME, _BAD_NAME, CONFIG),
        "models": never("language models would be run by a program of the host; give the tool an address instead"),
    }
)


def judge(config: Mapping[str, Any], repository: PurePosixPath) -> tuple[Refusal, ...]:
    """All that is refused, in the order of the configuration; nothing where the stack may run.

    `config` is what `docker compose config --format json` wrote, `repository` the absolute path of the unpacked
    repository that its paths lead into.
    """
    services, volumes = as_mapping(config.get("services")), as_mapping(config.get("volumes"))
    judged = Judged(repository, frozenset(services or ()), frozenset(volumes or ()))
    return tuple(_STACK((), config, judged))


def refused(refusals: Sequence[Refusal]) -> Failure:
    """The failure that says all of them: the first in the message, each as a sentence in `detail["refusals"]`."""
    rest = len(refusals) - 1
    more = f" (and {rest} more)" if rest else ""
    return Failure("policy_refused", f"{refusals[0]}{more}.", {"refusals": [str(refusal) for refusal in refusals]})
