"""`machete doctor`: what this machine has of what MACHETE needs, and how to get the rest.

ok       git                2.39.5
missing  docker engine      the Docker Engine does not answer: …
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from clients.cli import place
from clients.cli.exits import FAILED, OK, Ending
from clients.cli.output import console, print_json, safe

ENGINE = (20, 10)
SPACE = 2 * 1024**3
PATIENCE = 10.0
SKIPPED = "not looked at: MACHETE_URL names a platform that has ports of its own"


@dataclass(frozen=True)
class Found:
    """One thing looked at. `note` is what is good to know and keeps nothing from working."""

    name: str
    state: Literal["ok", "missing", "note"]
    found: str
    way_out: str = ""


def run(*, json: bool) -> int:
    findings = [_looked(look) for look in LOOKS]
    if json:
        print_json(
            {"ok": all(each.state != "missing" for each in findings), "checks": [asdict(each) for each in findings]}
        )
    else:
        show(findings)
    return FAILED if any(each.state == "missing" for each in findings) else OK


def _looked(look: Callable[[], Found]) -> Found:
    try:
        return look()
    except Ending as problem:
        return Found(look.__name__.replace("_", " "), "missing", problem.message)


def show(findings: Sequence[Found]) -> None:
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column(no_wrap=True)
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    styles = {"ok": "green", "missing": "red", "note": "yellow"}
    for each in findings:
        said = f"{each.found}: {each.way_out}" if each.way_out else each.found
        shown.add_row(Text(each.state, style=styles[each.state]), Text(each.name), Text(safe(" ".join(said.split()))))
    console().print(shown)


def git() -> Found:
    said = _ask(["git", "--version"])
    if said is None:
        return Found("git", "missing", "there is no git on PATH", "install it (Debian: apt-get install git)")
    return Found("git", "ok", said.removeprefix("git version "))


def git_over_ssh() -> Found:
    """Nothing that everybody needs: many install over https alone."""
    found = shutil.which("ssh")
    if found is None:
        way_out = "to install from ssh addresses, install it (Debian: apt-get install openssh-client)"
        return Found("git over ssh", "note", "there is no ssh on PATH", way_out)
    return Found("git over ssh", "ok", f"{found}; keys and tokens for private repositories: docs/git.md")


def docker_engine() -> Found:
    way_out = "install Docker Engine 20.10 or newer and start it; `make setup` does so as root on Debian 12"
    if shutil.which("docker") is None:
        return Found("docker engine", "missing", "there is no docker command on PATH", way_out)
    said = _ask(["docker", "version", "--format", "{{.Server.Version}}"])
    if not said:
        where = os.environ.get("DOCKER_HOST", "its usual socket")
        wayout = f"{way_out}; if it runs, see that `docker version` works for this user"
        return Found("docker engine", "missing", f"no Docker Engine answers at {where}", wayout)
    if _numbers(said) < ENGINE:
        return Found("docker engine", "missing", f"{said} is too old", way_out)
    return Found("docker engine", "ok", said)


def buildx() -> Found:
    return _plugin("buildx", "install Docker's buildx plugin (Debian: docker-buildx), which brings BuildKit")


def compose() -> Found:
    return _plugin("compose", "install Docker's Compose plugin, version 2 (docker-compose-plugin)")


def _plugin(name: str, way_out: str) -> Found:
    said = _ask(["docker", name, "version"])
    if said is None:
        return Found(f"docker {name}", "missing", f"`docker {name}` does not work", way_out)
    version = re.search(r"v?\d+\.\d+\S*", said)
    return Found(f"docker {name}", "ok", version[0] if version else said)


def nats_server() -> Found:
    from libs.runtime import nats_binary

    try:
        binary = nats_binary.find()
    except nats_binary.NoNatsServer as problem:
        return Found("nats-server", "missing", "no server that can be used", str(problem))
    return Found("nats-server", "ok", f"{binary.version} ({binary.path})")


def nats_port() -> Found:
    """The port that the platform's own server uses, or would try first."""
    from libs.runtime import loopback
    from libs.runtime.embedded import USUAL_PORT

    if _elsewhere():
        return Found("nats port", "note", SKIPPED)
    port = _number_in(place.data_folder() / "nats" / "port")
    if _nats_runs():
        return Found("nats port", "ok", f"{port}, used by this platform's NATS server")
    wanted = port or USUAL_PORT
    if loopback.is_free(wanted):
        return Found("nats port", "ok", f"{wanted} is free")
    return Found("nats port", "note", f"{wanted} is taken by another process; a free one is taken instead")


def _nats_runs() -> bool:
    return place.held_by(place.data_folder() / "nats") is not None


def data_folder() -> Found:
    folder = place.data_folder()
    there = _nearest(folder)
    if not there.is_dir():
        return Found("data folder", "missing", f"{there} is no folder", "name another one with MACHETE_DATA")
    if not os.access(there, os.W_OK | os.X_OK):
        return Found("data folder", "missing", f"{there} may not be written to", "name another one with MACHETE_DATA")
    free = shutil.disk_usage(there).free
    said = f"{folder}{'' if folder.exists() else ' (made at the first start)'}, {free / 1024**3:.1f} GiB free"
    if free < SPACE:
        return Found("data folder", "missing", said, f"make room: builds and logs need {SPACE // 1024**3} GiB and more")
    return Found("data folder", "ok", said)


def port() -> Found:
    """Whether a platform could listen where it would, or is that platform."""
    if _elsewhere():
        return Found("port", "note", SKIPPED)
    from libs.runtime.settings import Settings
    from libs.runtime.variables import SettingsError
    from services import registry

    try:
        settings = Settings.load(registry.settings_classes())
    except SettingsError as problem:
        return Found("settings", "missing", "there is a mistake", str(problem))
    where = f"{settings.port} on {settings.host}"
    if place.local_url() is not None:
        return Found("port", "ok", f"this platform answers at {place.local_url()}")
    try:
        _listen(settings.host, settings.port)
    except OSError as problem:
        return Found("port", "missing", f"{where}: {problem.strerror}", "choose another one with MACHETE_PORT")
    return Found("port", "ok", f"{where} is free")


def _elsewhere() -> bool:
    """Whether the platform that is asked about is another one than what would run on this data folder."""
    url = place.named_url()
    return url is not None and url != place.local_url()


def _listen(host: str, number: int) -> None:
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, number))


def platform() -> Found:
    """Open to everyone, so no token is shown."""
    url = place.named_url() or place.local_url()
    if url is None:
        return Found("platform", "note", f"none runs on {place.data_folder()}: start one with `machete up`")
    report = _health(url)
    if report is None:
        return Found("platform", "missing", f"{url} does not answer", "see its log, or start it again")
    wrong = [
        f"{service} {name}: {check['detail']}"
        for service, about in report.get("services", {}).items()
        for name, check in about["checks"].items()
        if not check["ok"]
    ]
    said = f"{report.get('version')} at {url} is {report.get('status')}"
    if not report.get("ready"):
        return Found("platform", "missing", said, "; ".join(wrong))
    return Found("platform", "note" if wrong else "ok", said, "; ".join(wrong))


def _health(url: str) -> Mapping[str, Any] | None:
    """Its report, whether well or not; None if there is no answer."""
    from clients.cli.api import Api

    try:
        return Api(place.Place(url, "")).get("/api/health", patience=PATIENCE)
    except Ending as problem:
        return problem.detail if isinstance(problem.detail, dict) and "services" in problem.detail else None


LOOKS: tuple[Callable[[], Found], ...] = (
    git,
    git_over_ssh,
    docker_engine,
    buildx,
    compose,
    nats_server,
    nats_port,
    data_folder,
    port,
    platform,
)


def _ask(argv: Sequence[str]) -> str | None:
    """What a program says of itself; None where it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def _numbers(version: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _nearest(folder: Path) -> Path:
    """The folder, or what is there of the way to it."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
