"""Tiny tools in Git repositories, each with a way of its own to be slow or to go wrong; all build in a moment."""

from __future__ import annotations

import json
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from deploy.setup.images import BUSYBOX
from libs.contracts.names import random_word
from tests.support.git_repos import commit_files
from tests.support.git_server import GitServer
from tests.support.platform_waiting import until

PAGE = "hello from a tool"
SERVE = "httpd -f -p 8080 -h /www & wait $!"
Files = dict[str, bytes]


def web(page: str = PAGE, **machete: Any) -> Files:
    """Answers on its port as soon as it runs, and ends at once when asked to."""
    return _tool(SERVE, page=page, **machete)


def talkative(lines: int = 5) -> Files:
    """Prints `line 0` … and then a line more for each file that is put into its data folder; serves too."""
    said = f"i=0; while [ $i -lt {lines} ]; do echo line $i; i=$((i+1)); done"
    more = "(while :; do if [ -e /data/more ]; then rm /data/more; echo line $i; i=$((i+1)); fi; sleep 0.05; done) &"
    return _tool(f"{said}; {more} {SERVE}", volumes=["./data:/data"])


def waits_for_go(patience: float = 60) -> Files:
    """Serves once there is a file `go` in its data folder, so that a start lasts exactly as long as a test wants."""
    wait = "while [ ! -e /data/go ]; do sleep 0.05; done"
    return _tool(f"{wait}; {SERVE}", volumes=["./data:/data"], readiness_timeout=patience)


def deaf() -> Files:
    """Does not end when it is asked to: it has to be killed."""
    return _tool("trap '' TERM; httpd -p 8080 -h /www; while :; do sleep 1; done")


def exits(code: int = 3) -> Files:
    return _tool(f"echo this is why; exit {code}")


def dies_after(seconds: float) -> Files:
    """Serves for so long."""
    return _tool(f"httpd -p 8080 -h /www; sleep {seconds}; echo this is why; exit 7")


def never_ready(patience: float = 1.5) -> Files:
    return _tool("echo here but silent; sleep 1000 & wait $!", readiness_timeout=patience)


def fails_to_build() -> Files:
    return _tool(SERVE, build=f"RUN echo the reason is {random_word(8)} && exit 7")


def gated(gate: Gate, name: str) -> Files:
    """Its build waits for `gate.open(name)`."""
    return _tool(SERVE, build=f"ADD {gate.url}/{name} /gate")


def sleeping() -> str:
    """A time to sleep that nobody else on this machine sleeps."""
    return f"5000.{random.randrange(10**9):09}"


def builds_for_ever(mark: str) -> Files:
    """Its build is `sleep mark`, to be found among the machine's processes by that number."""
    return _tool(SERVE, build=f"RUN sleep {mark}")


def with_volume() -> Files:
    return _tool(SERVE, volumes=["./data:/data", "kept:/kept"])


def _tool(script: str, *, build: str = "", page: str = PAGE, **machete: Any) -> Files:
    # A shell as the first process ignores signals it has no trap for, and `docker stop` would wait for long.
    command = ["sh", "-c", f"trap 'exit 0' TERM; {script}"]
    lines = [f"FROM {BUSYBOX}", build, "COPY index.html /www/index.html", f"CMD {json.dumps(command)}"]
    about = {"port": 8080, "health_check": "/", **machete}
    manifest = {"version": "1.2.3", "description": "a tool for tests", "machete": about}
    return {
        "Dockerfile": "\n".join(lines).encode(),
        "index.html": page.encode(),
        # JSON is YAML.
        "machete.yml": json.dumps(manifest).encode(),
    }


class Gate:
    """Holds builds: whoever asks for `/<name>` is answered when that name is opened."""

    def __init__(self) -> None:
        self._open: dict[str, threading.Event] = {}
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Asking)
        self._server.daemon_threads = True
        setattr(self._server, "gate", self)  # noqa: B010
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def event(self, name: str) -> threading.Event:
        return self._open.setdefault(name, threading.Event())

    def open(self, name: str) -> None:
        self.event(name).set()

    async def reached(self, name: str, times: int = 1) -> None:
        """Returns when that many builds have come to this gate."""
        await until(lambda: self.asked.count(name) >= times, f"{times} builds at the gate {name}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for event in self._open.values():
            event.set()
        self._server.shutdown()
        self._server.server_close()


class _Asking(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        gate: Gate = getattr(self.server, "gate")  # noqa: B009
        name = self.path.strip("/")
        gate.asked.append(name)
        gate.event(name).wait(120)
        try:
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"open")
        except (BrokenPipeError, ConnectionResetError):
            return

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: a test has its own words."""


class Forge(GitServer):
    """A Git server for tools."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        super().__init__(folder, host)
        self.commits: dict[str, str] = {}

    def tool(self, name: str, files: Files, branch: str = "main") -> str:
        """Publishes these files as the newest commit of a repository; returns its address."""
        self.commits[f"{name}/{branch}"] = commit_files(self.repository(name), dict(files), branch)
        self.published.add(name)
        return self.url(name)
