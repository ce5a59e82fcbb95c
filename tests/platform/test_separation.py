"""What a service in its container can see and reach: its own, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import nats
import pytest
from nats.errors import Error, NoServersError

from tests.support.platform_containers import SERVERS, SERVICES, ContainedPlatform, reachable_from_containers

CONNECT = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
# Who may open a connection to whom; all else must fail. Services reach one another's HTTP, which asks for a token.
MAY_REACH = {
    ("gateway", "nats"),
    ("gateway", "postgres"),
    ("gateway", "status"),
    ("installer", "gateway"),
    ("installer", "nats"),
    ("installer", "status"),
    ("installer", "world"),
    ("status", "gateway"),
    ("status", "nats"),
    ("status", "postgres"),
}
PORTS = {"gateway": 8080, "status": 8080, "nats": 4222, "postgres": 5432}


def secrets_of(platform: ContainedPlatform, service: str) -> list[str]:
    """Files with passwords that this service uses."""
    names = ["machete.env", "metrics.token", "nats/credentials.json"]
    more = {"gateway": ["admin.token", "nats/issuer.json"]}
    return [str(platform.data / service / name) for name in [*names, *more.get(service, [])]]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_its_own_credentials_and_nobody_elses(platform: ContainedPlatform, service: str) -> None:
    for path in secrets_of(platform, service):
        assert platform.within(service, "cat", path).returncode == 0, path
    foreign = [path for other in SERVICES if other != service for path in secrets_of(platform, other)]
    foreign += [
        str(platform.data / path) for path in ("secrets/nats.json", "secrets/postgres.json", "nats/server.json")
    ]
    foreign += [str(platform.data / "postgres" / "start" / "password")]
    for path in foreign:
        assert (path, platform.within(service, "cat", path).returncode) == (path, 1)


def test_the_orchestrator_is_the_only_one_that_sees_the_engine(platform: ContainedPlatform) -> None:
    seen = {each for each in (*SERVICES, *SERVERS) if "docker.sock" in json.dumps(platform.inspect(each)["Mounts"])}
    assert seen == {"orchestrator"}


def test_a_service_has_the_nats_users_it_uses(platform: ContainedPlatform) -> None:
    for service, users in {"gateway": {"answers", "gateway", "warden"}, "status": {"status"}}.items():
        found = json.loads((platform.data / service / "nats" / "credentials.json").read_text())
        assert set(found) == users


async def test_who_has_no_password_is_not_let_into_the_published_nats_port(platform: ContainedPlatform) -> None:
    for credentials in ({"user": "gateway", "password": "w" * 40}, {}):
        said: list[str] = []

        async def hear(problem: Exception, said: list[str] = said) -> None:
            said.append(str(problem).lower())

        with pytest.raises((NoServersError, Error)):
            await nats.connect(platform.nats_url, allow_reconnect=False, error_cb=hear, **credentials)
        assert any("authorization violation" in each for each in said), said


def reaches(platform: ContainedPlatform, one: str, other: str) -> bool:
    if other == "world":
        host, port = reachable_from_containers(), platform.forge.address.rsplit(":", 1)[1]
    else:
        host, port = other, str(PORTS[other])
    return platform.within(one, "python", "-c", CONNECT, host, port).returncode == 0


def test_each_service_reaches_whom_it_needs_and_nobody_else(platform: ContainedPlatform) -> None:
    """The orchestrator is in the host's network, where only what is published can be reached."""
    contained = ("gateway", "installer", "status")
    tried = [(one, other) for one in contained for other in (*PORTS, "world") if one != other]
    assert {pair for pair in tried if reaches(platform, *pair)} == MAY_REACH


def test_only_the_front_and_nats_are_published_and_both_on_loopback(platform: ContainedPlatform) -> None:
    published = {
        service: sorted(
            (binding["HostIp"], inside)
            for inside, bindings in platform.inspect(service)["NetworkSettings"]["Ports"].items()
            for binding in bindings or []
        )
        for service in (*SERVICES, *SERVERS)
    }
    assert {service: ports for service, ports in published.items() if ports} == {
        "caddy": [("127.0.0.1", "8080/tcp")],
        "nats": [("127.0.0.1", "4222/tcp")],
    }


def restrictions(container: Any) -> dict[str, Any]:
    host = container["HostConfig"]
    return {
        "privileged": host["Privileged"],
        "read-only": host["ReadonlyRootfs"],
        "dropped": host["CapDrop"],
        "no new privileges": "no-new-privileges:true" in host["SecurityOpt"],
        "memory is limited": host["Memory"] > 0,
        "log rotates": {"max-size", "max-file"} <= set(host["LogConfig"]["Config"]),
        "comes back": host["RestartPolicy"]["Name"],
        "has a health check": bool(container["Config"].get("Healthcheck")),
    }


@pytest.mark.parametrize("service", [*SERVICES, *SERVERS])
def test_every_container_has_as_little_as_it_needs(platform: ContainedPlatform, service: str) -> None:
    container = platform.inspect(service)
    assert restrictions(container) == {
        "privileged": False,
        "read-only": True,
        "dropped": ["ALL"],
        "no new privileges": True,
        "memory is limited": True,
        "log rotates": True,
        "comes back": "unless-stopped",
        "has a health check": True,
    }
    as_root = container["Config"]["User"].split(":")[0] in ("", "0")
    assert as_root == (service in ("orchestrator", "postgres"))


async def test_no_password_is_in_what_the_engine_tells_or_in_any_log(platform: ContainedPlatform) -> None:
    kept = [json.loads((platform.data / "secrets" / name).read_text()) for name in ("nats.json", "postgres.json")]
    secrets = [word for passwords in kept for word in passwords.values()]
    secrets.append((platform.data / "admin.token").read_text().strip())
    secrets.append(json.loads((platform.data / "gateway" / "nats" / "issuer.json").read_text())["seed"])
    assert len(secrets) >= 10
    told = "".join(json.dumps(platform.inspect(each)) for each in (*SERVICES, *SERVERS, "setup", "provision"))
    told += platform.compose("logs")
    assert [word[:4] for word in secrets if word in told] == []


def test_each_role_opens_its_own_database_and_no_other(platform: ContainedPlatform) -> None:
    code = (
        "import os,psycopg,re,pathlib,sys\n"
        "text = pathlib.Path(os.environ['MACHETE_DATA'], 'machete.env').read_text()\n"
        "url = re.search(r'_DATABASE=(.*)', text)[1].replace('+psycopg', '').rsplit('/', 1)[0]\n"
        "psycopg.connect(f'{url}/{sys.argv[1]}', connect_timeout=5).execute('SELECT 1')\n"
    )
    for one in ("gateway", "status"):
        for other in ("gateway", "status", "postgres"):
            done = platform.within(one, "python", "-c", code, other)
            assert (one, other, done.returncode == 0) == (one, other, one == other), done.stderr
