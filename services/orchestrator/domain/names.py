"""Names and labels of all that MACHETE makes on an engine.

Everything carries the instance and the tool's id, so two platforms on one engine, and two tools with a
volume `db` each, never meet. Labels say whose a thing is and never change over its life.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping

from libs.contracts.problems import Failure

PREFIX = "io.machete."
LABEL_INSTANCE = "io.machete.instance"
LABEL_TOOL = "io.machete.tool"
LABEL_RELEASE = "io.machete.release"
LABEL_SERVICE = "io.machete.service"
LABEL_SPEC = "io.machete.spec"
LABEL_PORT = "io.machete.port"  # the host's port of what people open in a browser
LABEL_PORTS = "io.machete.ports"  # all of the host's ports that the container holds
LABEL_JOB = "io.machete.job"
LABEL_RETRIES = "io.machete.retries"
LABEL_NETWORKS = "io.machete.networks"  # those that a container of a stack is made in, where they are several

# Compose's own.
LABEL_PROJECT = "com.docker.compose.project"
LABEL_COMPOSE_SERVICE = "com.docker.compose.service"
LABEL_NUMBER = "com.docker.compose.container-number"
LABEL_ONE_OFF = "com.docker.compose.oneoff"
LABEL_CONFIG = "com.docker.compose.config-hash"
LABEL_DEPENDS_ON = "com.docker.compose.depends_on"

# What only the containers of stacks say of themselves.
OF_STACKS = (
    LABEL_PORTS,
    LABEL_JOB,
    LABEL_RETRIES,
    LABEL_NETWORKS,
    LABEL_PROJECT,
    LABEL_COMPOSE_SERVICE,
    LABEL_NUMBER,
    LABEL_DEPENDS_ON,
)

APP = "app"  # the service name of a tool that is one container

# Compose makes the container that is to replace another one under that one's id, and renames it once the other is gone.
_REPLACING = re.compile(r"^[0-9a-f]{12}_")
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


def cache_namespace(instance: str, tool: str) -> str:
    """Apart from every other tool's: what one leaves in a build's cache mount must not get into another's image."""
    return hashlib.sha256(f"{instance}/{tool}/cache".encode()).hexdigest()[:32]


def owner_labels(instance: str, tool: str) -> dict[str, str]:
    """What networks and volumes carry: they outlive releases."""
    return {LABEL_INSTANCE: instance, LABEL_TOOL: tool}


def release_labels(instance: str, tool: str, release: str) -> dict[str, str]:
    return {**owner_labels(instance, tool), LABEL_RELEASE: release}


def containers_filter(instance: str, tool: str | None = None) -> dict[str, list[str]]:
    """An engine filter for the containers MACHETE made; `has_its_name` judges what it lets through.

    The service label tells them from containers that somebody runs by hand from a tool's image, which
    inherit all other labels from it.
    """
    labels = [f"{LABEL_INSTANCE}={instance}", LABEL_SERVICE]
    return {"label": labels if tool is None else [*labels, f"{LABEL_TOOL}={tool}"]}


def project_filter(instance: str, tool: str) -> dict[str, list[str]]:
    """An engine filter for what Compose itself counts as containers of the tool's stack: not what `run` makes."""
    project = f"{LABEL_PROJECT}={container_name(instance, tool)}"
    return {"label": [project, LABEL_CONFIG, f"{LABEL_ONE_OFF}=False"]}


def has_its_name(called: Iterable[str], labels: Mapping[str, str]) -> bool:
    """Whether a container with our labels has the name that they say, and so is ours: no two have one name.

    One that has none (any more) is being removed, and is nobody's data. Any other was renamed since, or is somebody's
    (`is_committed`).
    """
    known = [_REPLACING.sub("", name.removeprefix("/")) for name in called]
    return own_name(labels) in known or not known


def own_name(labels: Mapping[str, str]) -> str:
    """The name that we give a container with these labels: no two at a time are ours and have the same one."""
    ours = container_name(labels.get(LABEL_INSTANCE, ""), labels.get(LABEL_TOOL, ""))
    if service := labels.get(LABEL_COMPOSE_SERVICE):
        ours = f"{ours}-{service}-{labels.get(LABEL_NUMBER) or '1'}"
    return ours


def is_committed(labels: Mapping[str, str]) -> bool:
    """Whether an image was made of one of our containers: of our labels we put no service into an image.

    `docker commit` writes a container's labels into the image that it makes, so all that somebody runs from that has
    them.
    """
    return LABEL_SERVICE in labels


def made_in(labels: Mapping[str, str], mode: str) -> frozenset[str]:
    """The tool's networks that a container was made in; `mode` is the engine's `NetworkMode`."""
    tools = network_name(labels.get(LABEL_INSTANCE, ""), labels.get(LABEL_TOOL, ""))
    named = {mode, *labels.get(LABEL_NETWORKS, "").split()}
    return frozenset(each for each in named if each == tools or each.startswith(f"{tools}_"))


def owned_filter(instance: str, tool: str) -> dict[str, list[str]]:
    """An engine filter for a tool's networks, volumes and images."""
    return {"label": [f"{key}={value}" for key, value in owner_labels(instance, tool).items()]}


def token(service: str) -> str:
    """A service's name as it may stand in a subject: Compose allows dots."""
    return service.replace(".", "_")


def service_of(labels: Mapping[str, str]) -> str:
    """The service that a container belongs to; the second and later ones of it are told apart by their number."""
    return replica(labels.get(LABEL_SERVICE) or APP, labels.get(LABEL_NUMBER) or "1")


def replica(service: str, number: str | int) -> str:
    return service if str(number) == "1" else f"{service}-{number}"
