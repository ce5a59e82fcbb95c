"""What provoking takes: a platform, a neighbour who must notice nothing, servers that are no good, and hands."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.bad_input.case import Came
from tests.support.git_repos import Odd, commit_files
from tests.support.platform import Platform
from tests.support.platform_api import Accepted
from tests.support.platform_checks import fresh
from tests.support.platform_proxy import EngineProxy
from tests.support.platform_tools import PAGE
from tests.support.platform_waiting import until

# Many things happen at once here, and a machine that is busy is nothing that goes wrong.
PATIENT = {"MACHETE_ACK_WAIT": "30", "MACHETE_HEARTBEAT": "3", "MACHETE_WATCHDOG_BOUND": "12"}
ENDS_WITHIN = 180.0
FETCH_LIMIT = 3_000_000
FETCH_TIMEOUT = 12.0
MACHETE = Path(sys.executable).with_name("machete")
NOBODY = f"http://127.0.0.1:1/{fresh('nobody')}.git"


@dataclass
class Bench:
    """`engine` is the line to the real engine. `neighbour` was installed before, runs, and is nobody's business.

    `split` has a NATS server to be killed, and a gateway and a status service that stand on it.
    """

    platform: Platform
    split: Platform
    engine: EngineProxy
    neighbour: Accepted
    tls_port: int
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(6))

    @property
    def neighbour_name(self) -> str:
        return name_of(self.neighbour)

    def publish(self, files: Mapping[str, bytes | Odd], name: str | None = None) -> str:
        """The address of a repository with just these files."""
        name = name or fresh("repo")
        forge = self.platform.forge
        commit_files(forge.repository(name), dict(files))
        forge.published.add(name)
        return forge.url(name)

    async def asks(self, method: str, path: str, **given: Any) -> Came:
        """One request; its answer must be a refusal."""
        answer = await self.platform.api.client.request(method, path, **given)
        return refused(answer)

    async def wants(self, **body: Any) -> Came:
        """A request to install that must be refused at once."""
        return await self.asks("POST", "/api/v1/tools", json={"name": fresh("bad"), **body})

    async def accepted(self, source: str | Mapping[str, bytes | Odd], **body: Any) -> Accepted:
        url = source if isinstance(source, str) else self.publish(source)
        return await self.platform.api.install(fresh("bad"), url, **body)

    async def installs(self, source: str | Mapping[str, bytes | Odd], **body: Any) -> Came:
        """An install from this address, or of these files, that must be accepted and fail."""
        return await self.fails(await self.accepted(source, **body))

    async def starts(self, source: Mapping[str, bytes | Odd], **body: Any) -> Came:
        return await self.installs(source, start=True, **body)

    async def fails(self, accepted: Accepted) -> Came:
        ended = await self._ended(accepted)
        assert ended["state"] == "failed", ended
        error = ended["error"]
        lines = (error.get("detail") or {}).get("log", ())
        return Came(None, error["code"], error["message"], accepted.tool, name_of(accepted), lines)

    async def succeeds(self, accepted: Accepted) -> Accepted:
        ended = await self._ended(accepted)
        assert ended["state"] == "succeeded", ended
        return accepted

    async def _ended(self, accepted: Accepted) -> dict[str, Any]:
        """The operation, once it has; a worker that was too slow for its own heartbeat lets another take its turn."""
        await self.platform.ended(accepted, ENDS_WITHIN)
        return await self.platform.api.done(accepted)

    async def shows(self, accepted: Accepted, state: str, saying: str = "") -> Came:
        """The tool, as soon as it is in this state and says why, in a sentence with these words."""

        async def look() -> Came | None:
            tool = await self.platform.api.tool(name_of(accepted))
            if tool["state"] != state or not tool["reason"] or saying not in tool["reason"]:
                return None
            return Came(None, state, tool["reason"], accepted.tool, name_of(accepted))

        return await until(look, f"{accepted.tool} is {state}")

    async def types(self, *arguments: str) -> Came:
        """A `machete` command that must be refused: `status` is None, `code` the word for programs."""
        environment = {"MACHETE_URL": self.platform.url(), "MACHETE_TOKEN": self.platform.api.token}
        process = await asyncio.create_subprocess_exec(
            MACHETE,
            arguments[0],
            "--json",
            *arguments[1:],
            env={**self.platform.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 4, (process.returncode, out, err)
        error = json.loads(out)["error"]
        return Came(None, error["code"], error["message"])

    async def untouched(self) -> Mapping[str, Any]:
        """What the neighbour is, to be the same before and after; it answers now."""
        details = await self.platform.hand.inspect(self.neighbour.tool)
        tool = await self.platform.api.tool(self.neighbour_name)
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(tool["urls"][0])
        assert PAGE in answer.text
        return {
            "container": details["Id"],
            "state": details["State"],
            "tool": {key: tool[key] for key in ("id", "state", "since", "urls", "desired") if key in tool},
        }


def refused(answer: httpx.Response) -> Came:
    assert answer.status_code >= 400, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem = answer.json()
    assert {"type", "title", "status", "code", "detail"} <= set(problem), problem
    assert problem["status"] == answer.status_code
    return Came(answer.status_code, problem["code"], problem["detail"])


def name_of(accepted: Accepted) -> str:
    return accepted.body["operation"]["tool_name"]


@contextmanager
def somebody_listens(port: int) -> Generator[None]:
    """Another process, as far as the platform knows, has this port."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        yield


@contextmanager
def untrusted_tls(folder: Path) -> Generator[int]:
    """The port of an HTTPS server whose certificate nobody signed but itself."""
    certificate, key = folder / "tls.pem", folder / "tls.key"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files]
    subprocess.run(argv, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = _Quiet(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that turns away is what this server is for."""


@asynccontextmanager
async def small_disk(folder: Path, size: str) -> AsyncGenerator[Path]:
    """A file system of its own, of this size, over the folder."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    options = f"size={size},mode=0700"
    await asyncio.to_thread(
        subprocess.run, ["mount", "-t", "tmpfs", "-o", options, "machete-test", str(folder)], check=True
    )
    try:
        yield folder
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(folder: Path, left: int) -> Generator[None]:
    """The disk that the folder lies on has only so many bytes left."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        free = _free(folder) - left
        assert free > 0, f"{folder} has less than {left} bytes free"
        while free > 0:
            free -= file.write(bytes(min(free, 1024**2)))
    try:
        yield
    finally:
        ballast.unlink()


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
