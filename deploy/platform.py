"""`make up` and `make down`: the platform in containers, from docker-compose.yml and .env.

    python3 -m deploy.platform up [--env-file FILE]
    python3 -m deploy.platform down

Standard library only: a machine that runs MACHETE this way needs Python and a Docker Engine, and none of our
dependencies.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from deploy.setup import docker_images, engine, images, parts
from deploy.setup.shell import PersonNeeded, SetupFailed, ask, clean_environment
from libs.runtime import private_files

ROOT = Path(__file__).resolve().parents[1]
IMAGE = "machete:1.0.0"
NATS_PORTS = (("MACHETE_NATS_PORT", "4222"), ("MACHETE_NATS_PORT_2", "4223"), ("MACHETE_NATS_PORT_3", "4224"))
SAID_BY_SETUP = "provisioning: "
# Seconds: health is looked at every 10.
WELL_WITHIN = 60.0
DONE, FAILED, PERSON_NEEDED, INTERRUPTED = 0, 1, 3, 130


@dataclass(frozen=True)
class Setup:
    """`chosen` is what the .env says, under what the environment says: Compose reads them in the same order."""

    env_file: Path
    chosen: Mapping[str, str]

    def compose(self, *arguments: str) -> list[str]:
        return ["docker", "compose", "--project-directory", str(ROOT), "--env-file", str(self.env_file), *arguments]

    def environment(self) -> dict[str, str]:
        """What Compose is run with. Where no registry answers, the images that set-up made stand in."""
        files = self.chosen.get("COMPOSE_FILE") or str(ROOT / "docker-compose.yml")
        if self.chosen.get("MACHETE_DOMAIN"):
            files += f"{os.pathsep}{ROOT / 'deploy' / 'caddy' / 'domain.yml'}"
        stand_ins = {**parts.chosen(parts.FOR_PLATFORM), **_build_args(), **self._cluster()}
        return {**stand_ins, **clean_environment(), **self.chosen, "COMPOSE_FILE": files}

    @property
    def nats_servers(self) -> tuple[str, ...]:
        return ("nats", "nats-2", "nats-3") if self.chosen.get("MACHETE_NATS_SERVERS") == "3" else ("nats",)

    def _cluster(self) -> dict[str, str]:
        """All addresses, so that whoever is connected to a server that dies goes on with another."""
        if len(self.nats_servers) == 1:
            return {}
        ports = [self.chosen.get(name) or usual for name, usual in NATS_PORTS]
        return {
            "COMPOSE_PROFILES": "cluster",
            "MACHETE_NATS_URL": ",".join(f"nats://{server}:4222" for server in self.nats_servers),
            "MACHETE_ORCHESTRATOR_NATS_URL": ",".join(f"nats://127.0.0.1:{port}" for port in ports),
        }

    def configuration(self) -> Any:
        """docker-compose.yml as Compose understands it here."""
        code, words = ask(self.compose("config", "--format", "json"), environment=self.environment())
        if code != 0:
            raise SetupFailed(f"docker-compose.yml does not go together with {self.env_file}: {words}")
        return json.loads(words)


def read_env(text: str) -> dict[str, str]:
    """NAME=value lines; others are none of our business: Compose complains of those it does not understand."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def prepare(env_file: Path) -> Setup:
    """The settings, written down at first start."""
    if not env_file.exists():
        private_files.make(env_file, first_env((ROOT / ".env.example").read_text(), os.geteuid(), os.getegid()))
        print(f"up: made {env_file} from .env.example: every setting is explained there", flush=True)
    return Setup(env_file, {**read_env(env_file.read_text()), **_overriding(os.environ)})


def first_env(example: str, uid: int, gid: int) -> str:
    """The example with the user whose files these will be, so that he can read the token; root gets one of its own."""
    if uid == 0:
        return example
    for name, number in (("UID", uid), ("GID", gid)):
        example = example.replace(f"#MACHETE_{name}=10001", f"MACHETE_{name}={number}")
    return example


def _overriding(environment: Mapping[str, str]) -> dict[str, str]:
    ours = ("MACHETE_", "COMPOSE_", "DOCKER_SOCKET", "BASE_IMAGE", "NATS_IMAGE", "POSTGRES_IMAGE", "CADDY_IMAGE")
    return {name: value for name, value in environment.items() if name.startswith(ours)}


def _build_args() -> dict[str, str]:
    return {"MACHETE_BUILD_ARGS": ",".join(f"{name}={value}" for name, value in images.build_args().items())}


def up(env_file: Path) -> None:
    engine.ensure()
    if not docker_images.has(docker_images.PUBLIC_BASE) and not docker_images.registry_answers():
        images.ensure()
    setup = prepare(env_file)
    _build(setup)
    configuration = setup.configuration()
    data = Path(configuration["services"]["setup"]["environment"]["MACHETE_DATA"])
    if not data.is_absolute():
        raise SetupFailed(f"MACHETE_DATA={data} must be an absolute path: it is the same inside and outside")
    _refuse_taken_ports(setup, configuration)
    _refuse_taken_networks(setup, configuration)
    _refuse_settings(setup)
    _start(setup, set(configuration["services"]))
    # It takes on what changed of its users, after an upgrade say; without a change nothing happens. From inside: a
    # container that was sent a signal from outside counts as stopped by hand, and is not started again when it dies.
    for server in setup.nats_servers:
        ask(setup.compose("exec", "-T", server, "nats-server", "--signal", "reload=1"), environment=setup.environment())
    _say(setup, configuration, data)


def _build(setup: Setup) -> None:
    """Quick where nothing changed. An image that somebody names is not ours to make."""
    if setup.chosen.get("MACHETE_IMAGE", IMAGE) != IMAGE:
        return
    print(f"up: building {IMAGE}", flush=True)
    base = setup.chosen.get("BASE_IMAGE") or images.build_args().get("BASE_IMAGE") or docker_images.PUBLIC_BASE
    command = ["docker", "build", "--quiet", "--build-arg", f"BASE_IMAGE={base}", "--tag", IMAGE]
    environment = {**clean_environment(), "DOCKER_BUILDKIT": "1"}
    code, words = ask([*command, "--file", ROOT / "deploy" / "Dockerfile", ROOT], timeout=1800, environment=environment)
    if code != 0:
        raise SetupFailed(f"the image could not be built:\n{words[-4000:]}")


def _refuse_taken_ports(setup: Setup, configuration: Any) -> None:
    """Before anything is started: Compose would say so after it had started half of it."""
    running = set(ask(setup.compose("ps", "--services"), environment=setup.environment())[1].split())
    ours = zip(setup.nats_servers, (name for name, _ in NATS_PORTS), strict=False)
    for service, name in (("caddy", "MACHETE_PORT"), *ours):
        for port in configuration["services"][service].get("ports", []):
            number, host = int(port["published"]), port.get("host_ip", "0.0.0.0")
            if service not in running and port.get("protocol", "tcp") == "tcp" and not _is_free(host, number):
                raise SetupFailed(
                    f"port {number} on {host} is taken by another process: stop that one, or choose another with "
                    f"{name} in {setup.env_file}"
                )
    own = int(configuration["services"]["orchestrator"]["environment"]["MACHETE_PORT"])
    if "orchestrator" not in running and not _is_free("127.0.0.1", own):
        raise SetupFailed(
            f"port {own} on 127.0.0.1, at which the orchestrator tells its health, is taken by another process: choose "
            f"another with MACHETE_ORCHESTRATOR_PORT in {setup.env_file}"
        )


def _refuse_taken_networks(setup: Setup, configuration: Any) -> None:
    """The engine would say only that some pool overlaps with some other."""
    networks = configuration["networks"].values()
    ours = {network["name"] for network in networks}
    wanted = [ip_network(part["subnet"]) for network in networks for part in network["ipam"]["config"]]
    _, ids = ask(["docker", "network", "ls", "--quiet"])
    # Beside the lines there may be an error: one that was removed in between has no addresses.
    _, lines = ask(["docker", "network", "inspect", "--format", "{{json .}}", *ids.split()])
    for network in (json.loads(line) for line in lines.splitlines() if line.startswith("{")):
        theirs = [ip_network(part["Subnet"]) for part in network["IPAM"]["Config"] or ()]
        if network["Name"] not in ours and any(one.overlaps(other) for one in wanted for other in theirs):
            raise SetupFailed(
                f"the engine's network {network['Name']} has addresses in {theirs[0]}, where the platform's networks "
                f"would be ({wanted[0]} and following): choose others with MACHETE_NETWORK_PREFIX in {setup.env_file}"
            )


def _refuse_settings(setup: Setup) -> None:
    """What cannot be with the data that are there: Compose would say so after it had stopped what runs."""
    asked = setup.compose("run", "--rm", "--no-deps", "--quiet-pull", "setup")
    code, words = ask(asked, timeout=120, environment=setup.environment())
    if code != 0:
        said = [line.removeprefix(SAID_BY_SETUP) for line in words.splitlines() if line.startswith(SAID_BY_SETUP)]
        raise SetupFailed(f"{'; '.join(said) or words}. Nothing was changed: {setup.env_file} has the settings")


def _start(setup: Setup, services: set[str]) -> None:
    """What lost the servers it stands on is unhealthy until they have come back, and it has noticed.

    Compose starts nothing that stands on something unhealthy, and does not wait for that to become well.
    """
    everything = ("up", "--detach", "--wait", "--remove-orphans", "--quiet-pull")
    unwell = _is_unhealthy(setup)
    if unwell:
        servers = {*setup.nats_servers, "postgres"} & services
        _run(setup, "up", "--detach", "--quiet-pull", *sorted(servers))
        _get_well(setup, *sorted(servers))
    try:
        _run(setup, *everything)
    except SetupFailed:
        if not unwell or not _get_well(setup):
            raise
        _run(setup, *everything)


def _is_unhealthy(setup: Setup, *services: str) -> bool:
    asked = setup.compose("ps", "--all", "--format", "{{.Health}}", *services)
    return "unhealthy" in ask(asked, environment=setup.environment())[1]


def _get_well(setup: Setup, *services: str) -> bool:
    """Whether they do, in time."""
    give_up = time.monotonic() + WELL_WITHIN
    while _is_unhealthy(setup, *services):
        if time.monotonic() > give_up:
            return False
        time.sleep(0.5)
    return True


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _run(setup: Setup, *arguments: str) -> None:
    done = subprocess.run(setup.compose(*arguments), env=setup.environment(), cwd=ROOT, check=False)
    if done.returncode != 0:
        raise SetupFailed(
            f"`docker compose {' '.join(arguments)}` ended with exit code {done.returncode}; "
            f"`{_by_hand(setup)} logs` shows what the services say"
        )


def _by_hand(setup: Setup) -> str:
    usual = setup.env_file == ROOT / ".env"
    return "docker compose" if usual else f"docker compose --env-file {setup.env_file}"


def _say(setup: Setup, configuration: Any, data: Path) -> None:
    (port, *_) = configuration["services"]["caddy"]["ports"]
    host = port.get("host_ip", "127.0.0.1").replace("0.0.0.0", "127.0.0.1")
    domain, url = setup.chosen.get("MACHETE_DOMAIN"), f"http://{host}:{port['published']}"
    lines = [
        "",
        f"MACHETE is up at {url}" + (f" and https://{domain}" if domain else ""),
        "",
        f"  token   {data / 'admin.token'}",
        "  CLI     for the machete command, once in each shell:",
        f"          export MACHETE_URL={url} MACHETE_DATA={data}",
        f"  docs    {url}/api/docs  (any user; the token is the password)",
        f"  data    {data}",
        f"  nats    {configuration['services']['gateway']['environment']['MACHETE_AGENTS_NATS_URL']}  (for agents)",
        f"  logs    {_by_hand(setup)} logs --follow",
        "",
        "  `make down` stops the platform: tools go on, and everything is kept.",
        "",
    ]
    print("\n".join(lines), flush=True)


def down(env_file: Path) -> None:
    """Containers and networks of the platform; no data, and no tool."""
    if not env_file.exists():
        raise SetupFailed(f"there is no {env_file}: nothing was started with it")
    _run(prepare(env_file), "down", "--remove-orphans")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m deploy.platform")
    parser.add_argument("action", choices=("up", "down"))
    parser.add_argument("--env-file", type=Path, default=ROOT / ".env", help="the settings (default: .env)")
    chosen = parser.parse_args(arguments)
    os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
    try:
        {"up": up, "down": down}[chosen.action](chosen.env_file.absolute())
    except PersonNeeded as what:
        sys.stderr.write(f"{chosen.action}: {what}\n")
        return PERSON_NEEDED
    except SetupFailed as problem:
        sys.stderr.write(f"{chosen.action}: failed: {problem}\n")
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{chosen.action}: interrupted; run it again to go on\n")
        return INTERRUPTED
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
