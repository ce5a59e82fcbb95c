"""What the platform's containers need before they start: folders and keys (`files`), streams and databases (`servers`).

Both can be repeated, and change nothing that is in order. Every service has a folder of its own in the data folder and
sees no other one, so that it has the passwords of its own users alone:

    <data>/gateway, installer, orchestrator, status    machete.env, nats/credentials.json, metrics.token, what it keeps
    <data>/nats, postgres, caddy                       what those keep, and their configuration; of a cluster, nats-2
                                                       and nats-3 too
    <data>/secrets                                     all passwords; only these two steps see it
    <data>/admin.token, metrics.token                  links into the gateway's folder, for who sits at this machine
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from libs.contracts.permissions import permissions
from libs.runtime import kept_instance, nats_credentials, nats_issuer, private_files
from libs.runtime.http import metrics_token
from libs.runtime.nats_config import Cluster, NatsUser, ServerSettings, render, storage_limit, storage_limit_of

PLATFORM = "platform"
NATS_USERS: dict[str, tuple[str, ...]] = {
    "gateway": ("gateway", "answers", "warden"),
    "installer": ("installer",),
    "orchestrator": ("orchestrator",),
    "status": ("status",),
}
"""The users whose passwords a service gets. `platform` stays with this program."""
NATS_SERVERS = ("nats", "nats-2", "nats-3")
"""What they and their folders are called; where there is one, it is the first."""
DATABASES = ("gateway", "status")
"""Services with a database; it and its owner are called like the service."""
SUPERUSER = "postgres"
ROOT = 0
MADE_BY = (
    "# Written at every start of the platform; settings of your own belong in the .env beside docker-compose.yml.\n"
)


@dataclass(frozen=True)
class Owner:
    uid: int
    gid: int


def files(data: Path, owner: Owner, servers: int = 1) -> None:
    """As root. Raises `BadCredentials`, `SettingsError` or ValueError for what cannot be used.

    `servers` are those of NATS: one, or a cluster of three.
    """
    _folder(data, owner, 0o711)
    secrets = _folder(data / "secrets", owner)
    nats = nats_credentials.ensure(secrets / "nats.json", permissions())
    databases = nats_credentials.ensure(secrets / "postgres.json", (SUPERUSER, *DATABASES))
    for service, users in NATS_USERS.items():
        _prepare_service(data / service, {user: nats[user] for user in users}, _settings_of(service, databases))
    issuer = nats_issuer.ensure(data / "gateway" / "nats" / nats_issuer.NAME)
    _share_metrics_token(data)
    names = NATS_SERVERS[:servers]
    _refuse_another_number(data, servers)
    routes = nats_credentials.ensure(secrets / "nats-cluster.json", ("route",))["route"]
    for name in names:
        cluster = Cluster("machete", 6222, [f"{each}:6222" for each in names], routes) if servers > 1 else None
        _prepare_nats(_folder(data / name, owner), nats, issuer.public, name, cluster)
    _prepare_postgres(_folder(data / "postgres", owner, 0o711), databases[SUPERUSER])
    _folder(data / "caddy", owner)
    _link(data / "admin.token", Path("gateway") / "admin.token")
    _link(data / metrics_token.NAME, Path("gateway") / metrics_token.NAME)
    # The orchestrator is root, as the engine makes it anyway; what tools keep in there has owners of its own.
    _give([secrets, *(data / each for each in (*NATS_USERS, *names, "caddy") if each != "orchestrator")], owner)


def _folder(path: Path, owner: Owner, mode: int = 0o700) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, owner.uid, owner.gid)
    path.chmod(mode)
    return path


def _prepare_service(folder: Path, passwords: Mapping[str, str], settings: Mapping[str, str]) -> None:
    _folder(folder, Owner(ROOT, ROOT))
    _folder(folder / "nats", Owner(ROOT, ROOT))
    nats_credentials.write(folder / "nats" / "credentials.json", passwords)
    _write(folder / "machete.env", MADE_BY + "".join(f"{name}={value}\n" for name, value in settings.items()))


def _settings_of(service: str, passwords: Mapping[str, str]) -> dict[str, str]:
    if service not in DATABASES:
        return {}
    address = f"{service}:{passwords[service]}@postgres:5432/{service}"
    return {f"MACHETE_{service.upper()}_DATABASE": f"postgresql+psycopg://{address}"}


def _share_metrics_token(data: Path) -> None:
    """One for all services: whoever scrapes them has one file to read."""
    token = metrics_token.ensure(data / "gateway")
    for service in NATS_USERS:
        _write(data / service / metrics_token.NAME, f"{token}\n")


def _refuse_another_number(data: Path, servers: int) -> None:
    """A server that finds itself in a cluster clears away the streams that it had alone, and the other way round."""
    config = data / "nats" / "server.json"
    if not config.exists() or not any((data / "nats" / "jetstream").iterdir()):
        return
    before = len(json.loads(config.read_text()).get("cluster", {}).get("routes", ("itself",)))
    if before != servers:
        raise ValueError(
            f"what NATS keeps was made by {before} of its servers, and MACHETE_NATS_SERVERS={servers} would lose it: "
            f"set {before}, or move the folders {data}/nats* away while the platform is down. Tools then come back "
            "from what their folders keep; their history does not"
        )


def _prepare_nats(folder: Path, passwords: Mapping[str, str], issuer: str, name: str, cluster: Cluster | None) -> None:
    store, config = folder / "jetstream", folder / "server.json"
    store.mkdir(mode=0o700, exist_ok=True)
    # Once chosen it stays: a running server takes on new users, and refuses to take on another limit.
    limit = storage_limit_of(config.read_text()) if config.exists() else 0
    settings = ServerSettings(
        server_name=name.replace("nats", "machete"),
        port=4222,
        folder=Path("/data"),
        max_file_store=limit or storage_limit(shutil.disk_usage(store).free, 0, 0),
        users={name: NatsUser(passwords[name], allowed) for name, allowed in permissions().items()},
        issuer=issuer,
        health_port=8222,
        cluster=cluster,
    )
    _write(config, _inside_a_container(render(settings)))


def _inside_a_container(document: str) -> str:
    """It is reached from other containers there, and what it logs is Docker's to keep."""
    values = json.loads(document)
    outside = {name: value for name, value in values.items() if not name.startswith("log")}
    for door in (outside, outside.get("cluster", {})):
        door["host"] = "0.0.0.0"
    return json.dumps(outside, indent=2) + "\n"


def _prepare_postgres(folder: Path, password: str) -> None:
    # Its owner is a user of the image that we do not know: what lies in `data` is its own business.
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    _folder(folder / "start", Owner(ROOT, ROOT))
    _write(folder / "start" / "password", f"{password}\n")


def _write(path: Path, text: str) -> None:
    """For its owner alone; a file that says so already stays the same file, with whomever it was opened to."""
    if path.is_symlink() or not path.is_file() or path.read_text() != text:
        private_files.write(path, text)


def _link(link: Path, target: Path) -> None:
    if not link.is_symlink():
        link.symlink_to(target)


def _give(folders: Iterable[Path], owner: Owner) -> None:
    """All of it: what a former start made as another user would be locked away otherwise."""
    for top in folders:
        for folder, _, names in os.walk(top):
            for path in (folder, *(os.path.join(folder, name) for name in names)):
                os.chown(path, owner.uid, owner.gid, follow_symlinks=False)


async def streams(data: Path, url: str, ack_wait: float) -> str:
    """Everything that `libs.contracts.streams` declares; returns the instance's id."""
    from libs.runtime.bus.connecting import connect
    from libs.runtime.bus.provision import provision

    password = nats_credentials.ensure(data / "secrets" / "nats.json", permissions())[PLATFORM]
    async with connect(url, user=PLATFORM, password=password, service=PLATFORM, source=PLATFORM) as bus:
        remembered = kept_instance.remembered(data / "secrets")
        instance = await provision(bus, ack_wait=ack_wait, instance=remembered)
    kept_instance.keep(data / "secrets", instance)
    return instance


def databases(data: Path, host: str, port: int, services: Iterable[str]) -> None:
    """A database for each, that its own role owns and nobody else may open; passwords are set to what the files say."""
    import psycopg
    from psycopg import sql

    passwords = nats_credentials.ensure(data / "secrets" / "postgres.json", (SUPERUSER, *DATABASES))
    access = {"host": host, "port": port, "user": SUPERUSER, "password": passwords[SUPERUSER], "dbname": "postgres"}
    options: dict[str, Any] = {**access, "autocommit": True, "connect_timeout": 10}
    with psycopg.connect(**options) as connection:
        for name in ("postgres", "template1"):
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        for service in services:
            name, password = sql.Identifier(service), sql.Literal(passwords[service])
            known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [service]).fetchone()
            verb = sql.SQL("ALTER" if known else "CREATE")
            connection.execute(sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, name, password))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [service]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, name))
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.provisioning", description=__doc__)
    parser.add_argument("step", choices=("files", "servers"))
    step = parser.parse_args(arguments).step
    environment = os.environ
    data = Path(environment["MACHETE_DATA"])
    try:
        if step == "files":
            owner = Owner(int(environment["MACHETE_UID"]), int(environment["MACHETE_GID"]))
            files(data, owner, _number_of_servers(environment["MACHETE_NATS_SERVERS"]))
        else:
            _servers(data, environment)
    except (nats_credentials.BadCredentials, ValueError, OSError) as problem:
        print(f"provisioning: {problem}", file=sys.stderr)
        return 1
    return 0


def _number_of_servers(chosen: str) -> int:
    if chosen not in ("1", "3"):
        raise ValueError(f"MACHETE_NATS_SERVERS={chosen} must be 1 or 3: two have no majority when one of them dies")
    return int(chosen)


def _servers(data: Path, environment: Mapping[str, str]) -> None:
    ours = [each for each in DATABASES if not environment.get(f"MACHETE_{each.upper()}_DATABASE")]
    if ours:
        databases(data, "postgres", 5432, ours)
    instance = asyncio.run(streams(data, environment["MACHETE_NATS_URL"], float(environment["MACHETE_ACK_WAIT"])))
    print(f"provisioning: streams and databases are there; this is instance {instance}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
