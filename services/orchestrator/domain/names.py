"""Names and labels of all that MACHETE makes on an engine.

Everything carries the instance and the tool's id, so two platforms on one engine, and two tools with a
volume `db` each, never meet. Labels say whose a thing is and never change over its life.
"""

import re
from collections.abc import Mapping

from libs.contracts.problems import Failure

LABEL_INSTANCE = "io.machete.instance"
LABEL_TOOL = "io.machete.tool"
LABEL_RELEASE = "io.machete.release"
LABEL_SERVICE = "io.machete.service"
LABEL_SPEC = "io.machete.spec"
LABEL_PORT = "io.machete.port"

APP = "app"  # the service name of a tool that is one container

_VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}")


def container_name(instance: str, tool: str) -> str:
    return f"machete-{instance}-{tool}"


def network_name(instance: str, tool: str) -> str:
    return f"machete-{instance}-{tool}"


def volume_name(instance: str, tool: str, name: str) -> str:
    """As Compose names them: `_` cannot stand in a tool's id, so no two tools' volumes can be named alike."""
    if _VOLUME.fullmatch(name) is None:
        raise Failure("mount_refused", f"{name!r} is not a volume name: use up to 63 letters, digits, `_`, `.`, `-`.")
    return f"machete-{instance}-{tool}_{name}"


def image_repository(instance: str, tool: str) -> str:
    return f"machete/{instance}/{tool}"


def image_reference(instance: str, tool: str, release: str) -> str:
    return f"{image_repository(instance, tool)}:{release}"


def owner_labels(instance: str, tool: str) -> dict[str, str]:
    """What networks and volumes carry: they outlive releases."""
    return {LABEL_INSTANCE: instance, LABEL_TOOL: tool}


def release_labels(instance: str, tool: str, release: str) -> dict[str, str]:
    return {**owner_labels(instance, tool), LABEL_RELEASE: release}


def containers_filter(instance: str, tool: str | None = None) -> dict[str, list[str]]:
    """An engine filter for the containers MACHETE made.

    The service label tells them from containers that somebody runs by hand from a tool's image, which
    inherit all other labels from it.
    """
    labels = [f"{LABEL_INSTANCE}={instance}", LABEL_SERVICE]
    return {"label": labels if tool is None else [*labels, f"{LABEL_TOOL}={tool}"]}


def owned_filter(instance: str, tool: str) -> dict[str, list[str]]:
    """An engine filter for a tool's networks, volumes and images."""
    return {"label": [f"{key}={value}" for key, value in owner_labels(instance, tool).items()]}


def service_of(labels: Mapping[str, str]) -> str:
    return labels.get(LABEL_SERVICE) or labels.get("com.docker.compose.service") or APP
