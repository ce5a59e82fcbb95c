"""Builds that fail, and tools that do not come up or do not stay up."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from deploy.setup.images import BUSYBOX
from tests.e2e.bad_input.bench import Bench, somebody_listens
from tests.e2e.bad_input.case import Came, Case, Provoke
from tests.support.platform_checks import fresh
from tests.support.platform_tools import Files, exits, never_ready, web


def dockerfile(*lines: str) -> Provoke:
    content = "\n".join([f"FROM {BUSYBOX}", *lines]).encode()
    return lambda bench: bench.installs({**web(), "Dockerfile": content})


def from_nothing(line: str) -> Provoke:
    return lambda bench: bench.installs({**web(), "Dockerfile": f"{line}\nCMD true\n".encode()})


def script(text: str, resources: dict[str, str] | None = None, **machete: Any) -> Files:
    """A tool whose only process is this."""
    files = web(**machete)
    command = json.dumps(["sh", "-c", f"trap 'exit 0' TERM; {text}"])
    files["Dockerfile"] = f"FROM {BUSYBOX}\nCOPY index.html /www/index.html\nCMD {command}\n".encode()
    about = {**json.loads(files["machete.yml"]), "resources": resources or {}}
    return {**files, "machete.yml": json.dumps(about).encode()}


def runs(text: str, patience: float = 15, **manifest: Any) -> Provoke:
    return lambda bench: bench.starts(script(text, readiness_timeout=patience, **manifest))


def answers(page: str) -> str:
    return f"echo here; while :; do printf '{page}' | nc -l -p 8080 >/dev/null; done"


async def ends_later(bench: Bench) -> Came:
    """It comes up, and ends when it has been used for a while; the engine starts it again, and again."""
    text = "echo up; httpd -p 8080 -h /www; while [ ! -e /data/end ]; do sleep 0.05; done; exit 9"
    install = await bench.accepted(script(text, volumes=["./data:/data"]), start=True)
    await bench.succeeds(install)
    (bench.platform.folder_of(install.tool) / "data" / "data" / "end").touch()
    return await bench.shows(install, "failed", "being restarted")


async def port_of_a_process(bench: Bench) -> Came:
    install = await bench.succeeds(await bench.accepted(web()))
    with somebody_listens(await _port(bench, install.tool)):
        return await bench.fails(await bench.platform.api.start(install.body["operation"]["tool_name"]))


async def port_of_a_container(bench: Bench) -> Came:
    install = await bench.succeeds(await bench.accepted(web()))
    with _container(bench, await _port(bench, install.tool)):
        return await bench.fails(await bench.platform.api.start(install.body["operation"]["tool_name"]))


async def _port(bench: Bench, tool: str) -> int:
    bindings = (await bench.platform.hand.inspect(tool))["HostConfig"]["PortBindings"]
    return int(next(iter(bindings.values()))[0]["HostPort"])


@contextmanager
def _container(bench: Bench, port: int) -> Generator[None]:
    """Somebody else's, which has the port."""
    sdk = bench.platform.hand.sdk
    host = sdk.create_host_config(port_bindings={9: ("127.0.0.1", port)})
    made = sdk.create_container(BUSYBOX, ["sleep", "100"], name=fresh("stranger"), host_config=host, ports=[9])
    try:
        sdk.start(made["Id"])
        yield
    finally:
        sdk.remove_container(made["Id"], force=True)


BUILDS = (
    Case("dockerfile-syntax", "a Dockerfile with a word that is none", dockerfile("FETCH something")),
    Case("dockerfile-empty", "an empty Dockerfile", from_nothing("#")),
    Case(
        "build-command",
        "a command that fails while building",
        dockerfile("RUN echo this is why && exit 7"),
        shows="this is why",
    ),
    Case("build-base", "a base image that is not there", from_nothing("FROM machete-nowhere.invalid/no-such:image")),
    Case("build-copy", "a COPY of what is not there", dockerfile("COPY no-such-file /x")),
    Case(
        "build-full",
        "a build step that fills its disk",
        dockerfile("RUN --mount=type=tmpfs,target=/t,size=65536 dd if=/dev/zero of=/t/x bs=65536 count=9"),
        shows="No space left on device",
    ),
)
STARTS = (
    Case(
        "exits-0",
        "a tool that ends at once, and well",
        lambda bench: bench.starts(exits(0)),
        "installed",
        "this is why",
    ),
    Case(
        "exits-3",
        "a tool that ends at once with an error",
        lambda bench: bench.starts(exits(3)),
        "installed",
        "this is why",
    ),
    Case(
        "exits-127", "a tool whose program is not in its image", runs("no-such-program"), "installed", "no-such-program"
    ),
    Case(
        "not-executable",
        "a CMD that does not exist",
        lambda bench: bench.starts({**web(), "Dockerfile": f'FROM {BUSYBOX}\nCMD ["/no-such"]\n'.encode()}),
        "installed",
    ),
    Case(
        "out-of-memory",
        "a tool that wants more memory than it may have",
        lambda bench: bench.starts(
            {
                **script(
                    "echo hungry; x=$(head -c 60000000 /dev/zero | tr '\\0' a); echo fed", resources={"memory": "8Mi"}
                )
            }
        ),
        "installed",
        "hungry",
    ),
    Case("ends-later", "a tool that came up and ends later", ends_later, "installed", door="tool"),
    Case(
        "never-listens",
        "a tool that never opens its port",
        lambda bench: bench.starts(never_ready(2)),
        "installed",
        "here but silent",
    ),
    Case(
        "other-port",
        "a tool that listens on another port than it says",
        runs("echo here; httpd -f -p 9090 -h /www & wait $!", 2),
        "installed",
        "here",
    ),
    Case(
        "health-404",
        "a health check whose path does not exist",
        runs("echo here; httpd -f -p 8080 -h /www & wait $!", 2, health_check="/healthy"),
        "installed",
        "here",
    ),
    Case(
        "health-500",
        "a health check that says 500",
        runs(answers("HTTP/1.0 500 Oh\\r\\n\\r\\n"), 3),
        "installed",
        "here",
    ),
    Case(
        "health-no-http",
        "a port that answers something else than HTTP",
        runs(answers("220 mail\\r\\n"), 3),
        "installed",
        "here",
    ),
    Case("port-of-a-process", "a port that another process has taken meanwhile", port_of_a_process, "installed"),
    Case("port-of-a-container", "a port that another container has taken meanwhile", port_of_a_container, "installed"),
)
