"""Stacks that cannot be read, are not allowed, do not build or do not come up."""

from __future__ import annotations

import json
from typing import Any

from deploy.setup.images import BUSYBOX
from libs.runtime import loopback
from tests.e2e.bad_input.bench import Bench, somebody_listens
from tests.e2e.bad_input.case import Came, Case, Provoke
from tests.support.git_repos import Odd

SERVES = "mkdir /www; echo hello > /www/index.html; httpd -f -p 8080 -h /www & wait $!"


def service(script: str = SERVES, **more: Any) -> dict[str, Any]:
    command = ["sh", "-c", f"trap 'exit 0' TERM; {script}".replace("$", "$$")]
    return {"image": BUSYBOX, "command": command, **more}


def stack(services: dict[str, Any], files: dict[str, bytes] | None = None, **more: Any) -> dict[str, bytes | Odd]:
    about = {"version": "1.2.3", "machete": {"readiness_timeout": 3}}
    compose = {"services": services, **more}
    return {"compose.yaml": json.dumps(compose).encode(), "machete.yml": json.dumps(about).encode(), **(files or {})}


def installs(services: dict[str, Any], files: dict[str, bytes] | None = None, **more: Any) -> Provoke:
    return lambda bench: bench.installs(stack(services, files, **more))


def starts(services: dict[str, Any], **more: Any) -> Provoke:
    return lambda bench: bench.starts(stack(services, **more))


def broken(text: str) -> Provoke:
    return lambda bench: bench.installs({**stack({}), "compose.yaml": text.encode()})


async def port_taken(bench: Bench) -> Came:
    port = next(port for port in range(18_900, 19_900) if loopback.is_free(port))
    with somebody_listens(port):
        return await bench.installs(stack({"web": service(ports=[f"127.0.0.1:{port}:8080"])}))


def unhealthy() -> dict[str, Any]:
    return {"test": ["CMD-SHELL", "echo I feel bad; false"], "interval": "0.3s", "timeout": "1s", "retries": 2}


WEB = service(ports=["8080"])

STACKS = (
    Case("stack-broken", "a Compose file that is no YAML", broken("services: [\n")),
    Case("stack-types", "a Compose file with a wrong type", broken("services: {web: {image: busybox, ports: yes}}\n")),
    Case("stack-empty", "a Compose file without services", broken("services: {}\n")),
    Case(
        "stack-unknown", "a Compose file with a key that does not exist", broken("services: {web: {imago: busybox}}\n")
    ),
    Case(
        "stack-reference",
        "a service that depends on none that there is",
        installs({"web": {**WEB, "depends_on": ["db"]}}),
    ),
    Case(
        "stack-variable",
        "a variable that has to be set, and is not",
        broken("services: {web: {image: '${TAG:?name a tag}'}}\n"),
    ),
    Case("stack-privileged", "a privileged service", installs({"web": {**WEB, "privileged": True}})),
    Case("stack-socket", "the Docker socket", installs({"web": {**WEB, "volumes": ["/var/run/docker.sock:/s"]}})),
    Case("stack-host-path", "a path of the host", installs({"web": {**WEB, "volumes": ["/etc:/x"]}})),
    Case("stack-host-network", "the host's network", installs({"web": {**service(), "network_mode": "host"}})),
    Case("stack-include", "an include from elsewhere", installs({"web": WEB}, include=["oci://registry.invalid/x"])),
    Case(
        "stack-env-file",
        "an `env_file` outside the repository",
        installs({"web": {**WEB, "env_file": ["../../secret"]}}),
    ),
    Case(
        "stack-names-alike",
        "services whose names differ by a dot and an underscore alone",
        installs({"a.b": WEB, "a_b": service()}),
    ),
    Case(
        "stack-names-numbered",
        "a service that is called like another one's second container",
        installs({"w": service(scale=2), "w-2": WEB}),
    ),
    Case("stack-names-operation", "a service that is called like an operation", installs({f"op-{'a' * 26}": WEB})),
    Case(
        "stack-build",
        "a service whose build fails",
        installs(
            {"web": WEB, "job": {"build": "job"}},
            {"job/Dockerfile": f"FROM {BUSYBOX}\nRUN echo this is why; exit 7\n".encode()},
        ),
        shows="this is why",
    ),
    Case(
        "stack-image",
        "an image that cannot be pulled",
        installs({"web": {**WEB, "image": "registry.invalid/no-such:image"}}),
    ),
    Case("stack-port", "a port that another process has", port_taken),
    Case(
        "stack-exits",
        "a service that ends at once",
        starts({"web": WEB, "worker": service("echo this is why; exit 3")}),
        "installed",
        "this is why",
    ),
    Case(
        "stack-unhealthy",
        "a service that never becomes healthy",
        starts({"web": {**service("echo here; sleep 1000 & wait $!"), "healthcheck": unhealthy()}}),
        "installed",
        "here",
    ),
    Case(
        "stack-never-listens",
        "a stack that never answers",
        starts({"web": service("echo here; sleep 1000 & wait $!", ports=["8080"])}),
        "installed",
        "here",
    ),
    Case(
        "stack-needs-unchecked",
        "a service that waits for the health of one without a health check",
        starts({"web": {**WEB, "depends_on": {"db": {"condition": "service_healthy"}}}, "db": service()}),
        "installed",
    ),
    Case(
        "stack-needs-failing",
        "a service that waits for one that fails",
        starts(
            {
                "web": {**WEB, "depends_on": {"db": {"condition": "service_healthy"}}},
                "db": service("echo this is why; exit 4", healthcheck={"test": ["CMD", "true"], "interval": "1s"}),
            }
        ),
        "installed",
        "this is why",
    ),
)
