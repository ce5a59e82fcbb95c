"""Finds Docker's client plugins, which are programs of their own."""

import os
import shutil
from pathlib import Path

from libs.contracts.problems import Failure

FOLDERS = (
    Path("/usr/local/lib/docker/cli-plugins"),
    Path("/usr/local/libexec/docker/cli-plugins"),
    Path("/usr/lib/docker/cli-plugins"),
    Path("/usr/libexec/docker/cli-plugins"),
)
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find_plugin(name: str) -> tuple[str, ...]:
    """How to call it. The plugin itself starts 30 ms faster than through `docker`."""
    personal = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "cli-plugins"
    for folder in (personal, *FOLDERS):
        if os.access(folder / f"docker-{name}", os.X_OK):
            return (str(folder / f"docker-{name}"),)
    if docker := shutil.which("docker"):
        return docker, name
    raise Failure(f"{name}_missing", f"Docker's {name} plugin is not installed: install docker-{name}.")
