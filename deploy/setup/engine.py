"""A Docker Engine with Compose 2 and buildx: found, or installed and started where we may."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.setup import daemon, debian
from deploy.setup.shell import MACHINE, PersonNeeded, SetupFailed, alone, ask, on_terminal, say

CONSENT = "MACHETE_SETUP_ENGINE"


@dataclass(frozen=True)
class Machine:
    """What is there. `server`: version of the engine that answers; `may_install`: root on Debian 12."""

    server: str | None
    client: bool
    compose: bool
    buildx: bool
    dockerd: bool
    may_install: bool
    docker_host: str = ""


@dataclass(frozen=True)
class Work:
    """What is to be done; nothing if empty."""

    packages: tuple[str, ...] = ()
    start: bool = False

    def __bool__(self) -> bool:
        return bool(self.packages) or self.start


def work_for(machine: Machine) -> Work:
    start = machine.server is None
    needs = {
        "docker.io": start and not machine.dockerd,
        "docker-cli": not machine.client,
        "docker-compose": not machine.compose,
        "docker-buildx": not machine.buildx,
    }
    return Work(tuple(package for package, needed in needs.items() if needed), start)


def obstacle(machine: Machine, work: Work) -> str | None:
    """Why we cannot do the work here, as a sentence that tells the way out; None if we can."""
    if work.start and machine.docker_host:
        return f"no engine answers at DOCKER_HOST={machine.docker_host}: start it, or unset DOCKER_HOST"
    if machine.may_install:
        return None
    if not work.start:
        missing = " and ".join(work.packages)
        return (
            f"Docker {machine.server} answers, but {missing} is missing here: "
            "install the docker command with Compose 2 and buildx as its plugins"
        )
    return (
        "no Docker Engine answers: install and start one that has Compose 2 and buildx, and see that "
        "`docker version` works for this user (set-up installs one by itself as root on Debian 12)"
    )


def consent(environment: Mapping[str, str]) -> bool | None:
    """What the environment says about installing an engine; None if it says nothing."""
    answer = environment.get(CONSENT, "").lower()
    if answer:
        return answer not in ("0", "no", "false")
    return True if environment.get("CI", "").lower() not in ("", "0", "false") else None


def look() -> Machine:
    return Machine(
        server=daemon.answers(),
        client=shutil.which("docker") is not None,
        compose=ask(["docker", "compose", "version"])[0] == 0,
        buildx=ask(["docker", "buildx", "version"])[0] == 0,
        dockerd=shutil.which("dockerd") is not None,
        may_install=os.geteuid() == 0 and debian.is_bookworm(),
        docker_host=os.environ.get("DOCKER_HOST", ""),
    )


def ensure() -> None:
    machine = look()
    work = work_for(machine)
    if not work:
        return say(f"engine: Docker {machine.server} answers, with Compose and buildx")
    problem = obstacle(machine, work)
    if problem is not None:
        raise PersonNeeded(problem)
    _ask_consent(work)
    with alone(MACHINE):
        # Another set-up may have done it while we waited.
        work = work_for(look())
        if work.packages:
            debian.ensure_packages(work.packages)
        if work.start:
            daemon.start()
    left = work_for(look())
    if left:
        raise SetupFailed(f"after installing, this is still missing: {left}")


def _ask_consent(work: Work) -> None:
    what = " and ".join(
        ([f"install {', '.join(work.packages)} (pinned, from Debian)"] if work.packages else [])
        + (["start a Docker Engine"] if work.start else [])
    )
    answer = consent(os.environ)
    if answer is None and on_terminal():
        answer = input(f"setup: may I {what} on this machine? [y/N] ").strip().lower() in ("y", "yes")
    if not answer:
        raise PersonNeeded(f"set-up would {what}: run `{CONSENT}=1 make setup` to allow it, or do it yourself")


def status() -> None:
    version = daemon.answers()
    if version is None:
        raise SetupFailed("no Docker Engine answers; `make setup` starts one")
    ours = daemon.owner(daemon.OURS, "dockerd")
    say(f"engine: Docker {version} answers" + (f", started by set-up (pid {ours}, log {daemon.LOG})" if ours else ""))
