"""A small Git server: publishes folders as repositories over HTTP, read-only, on loopback unless told otherwise.

    python -m deploy.githost examples/hello-web      # prints the address, serves until Ctrl-C

It runs one program, `git http-backend`, for two services of published repositories, and hands nothing of a
request to it but a query string and a body that Git itself reads. Standard library only.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedReader
from pathlib import Path
from typing import Any, Self, cast

from deploy.gitcommit import commit, git, git_environment

ROUTE = re.compile(r"/([a-z0-9][a-z0-9._-]{0,99})\.git/(info/refs|git-upload-pack)")
REQUESTS = {("GET", "info/refs"), ("POST", "git-upload-pack")}
CHUNK = 64 * 1024
MAX_REQUEST = 16 * 1024**2


class GitHost:
    """Serves the repositories below `root` while its context is open; `port` 0 takes a free one."""

    def __init__(self, root: Path, *, port: int = 0, host: str = "127.0.0.1"):
        self.root = root
        self.published: set[str] = set()
        self._server = _Server((host, port), self.handler())
        self._server.host = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def handler(self) -> "type[Handler]":
        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.end_backends()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        return f"http://{self._server.server_address[0]}:{self._server.server_port}"

    def url(self, name: str) -> str:
        return f"{self.address}/{name}.git"

    def repository(self, name: str) -> Path:
        return self.root / f"{name}.git"

    def publish(self, folder: Path, name: str | None = None) -> str:
        """Makes what is in the folder the newest commit of `main` of the repository, and returns its address.

        The same content published again changes nothing; what the folder's .gitignore names is left out.
        """
        name = name or folder.resolve().name
        if ROUTE.fullmatch(f"/{name}.git/info/refs") is None:
            raise ValueError(f"{name!r} cannot be published: a name has a-z, 0-9 and . _ -")
        repository = self.repository(name)
        if not repository.exists():
            git("init", "--quiet", "--bare", "--initial-branch=main", str(repository))
        commit(repository, folder)
        self.published.add(name)
        return self.url(name)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    host: GitHost

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self._backends: set[subprocess.Popen[bytes]] = set()
        self._guard = threading.Lock()

    def start_backend(self, environment: dict[str, str], request: bytes) -> subprocess.Popen[bytes]:
        with self._guard, tempfile.TemporaryFile() as stdin:
            stdin.write(request)
            stdin.seek(0)
            argv = ["git", "http-backend"]
            backend = subprocess.Popen(
                argv, env=environment, stdin=stdin, stdout=subprocess.PIPE, start_new_session=True
            )
            self._backends.add(backend)
            return backend

    def end_backend(self, backend: subprocess.Popen[bytes]) -> None:
        """It and the `git upload-pack` it started are gone when this returns."""
        with self._guard:
            self._backends.discard(backend)
        if backend.poll() is None:
            os.killpg(backend.pid, signal.SIGKILL)
        if backend.stdout is not None:
            backend.stdout.close()
        backend.wait()

    def end_backends(self) -> None:
        for backend in list(self._backends):
            if backend.poll() is None:
                os.killpg(backend.pid, signal.SIGKILL)


class Handler(BaseHTTPRequestHandler):
    """One request; everything that is not the reading of a published repository is answered 404."""

    protocol_version = "HTTP/1.1"
    server: _Server
    asked = b""

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        path, _, query = self.path.partition("?")
        route = ROUTE.fullmatch(path)
        allowed = route is not None and (self.command, route[2]) in REQUESTS
        if not allowed or route is None or route[1] not in self.server.host.published:
            self.refuse(404, "no such repository")
        elif route[2] == "info/refs" and query != "service=git-upload-pack":
            self.refuse(403, "this server is read-only, and speaks Git's smart protocol alone")
        else:
            self.serve(path, query)

    def refuse(self, status: int, reason: str, **headers: str) -> None:
        body = f"{reason}\n".encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        # The body of the request was not read, so the connection cannot be used again.
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def serve(self, path: str, query: str) -> None:
        try:
            body = self.body()
        except ValueError as error:
            self.refuse(400, str(error))
            return
        self.asked = body
        backend = self.server.start_backend(self.cgi(path, query, len(body)), body)
        try:
            self.reply(cast("BufferedReader", backend.stdout))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.server.end_backend(backend)

    def cgi(self, path: str, query: str, length: int) -> dict[str, str]:
        return git_environment(
            GIT_PROJECT_ROOT=str(self.server.host.root),
            GIT_HTTP_EXPORT_ALL="1",
            GIT_PROTOCOL=self.headers.get("Git-Protocol", ""),
            HTTP_CONTENT_ENCODING=self.headers.get("Content-Encoding", ""),
            CONTENT_TYPE=self.headers.get("Content-Type", ""),
            CONTENT_LENGTH=str(length),
            PATH_INFO=path,
            QUERY_STRING=query,
            REQUEST_METHOD=self.command,
            REMOTE_ADDR=self.client_address[0],
        )

    def body(self) -> bytes:
        """The request's body, whole: what a client asks for is small. Raises ValueError."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            pieces: list[bytes] = []
            while size := int(self.rfile.readline(20), 16):
                if size < 0 or sum(map(len, pieces)) + size > MAX_REQUEST:
                    raise ValueError("the request is too large")
                pieces.append(self.rfile.read(size))
                self.rfile.readline(4)
            self.rfile.readline(4)
            return b"".join(pieces)
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MAX_REQUEST:
            raise ValueError("the request is too large")
        return self.rfile.read(length)

    def reply(self, output: BufferedReader) -> None:
        """Passes on what the backend says: its headers, then its body in chunks, as they come."""
        headers = dict(_headers(output))
        if not headers:
            self.refuse(500, "git http-backend gave no answer")
            return
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in self.pieces(output):
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def pieces(self, output: BufferedReader) -> Iterator[bytes]:
        while chunk := output.read1(CHUNK):
            yield chunk

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: whoever publishes says where, and a test has its own words."""


def _headers(output: BufferedReader) -> Iterator[tuple[str, str]]:
    while line := output.readline(CHUNK).strip():
        name, _, value = line.decode("latin-1").partition(":")
        yield name, value.strip()


class FolderHost(GitHost):
    """Publishes its folders anew whenever somebody comes to fetch: what is fetched is what lies there then."""

    def __init__(self, root: Path, *, port: int, host: str):
        super().__init__(root, port=port, host=host)
        self.folders: dict[str, Path] = {}
        self._publishing = threading.Lock()

    def handler(self) -> type[Handler]:
        return FolderHandler

    def publish(self, folder: Path, name: str | None = None) -> str:
        name = name or folder.resolve().name
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder")
        if self.folders.setdefault(name, folder.resolve()) != folder.resolve():
            raise ValueError(f"{folder} and {self.folders[name]} would both be published as {name}")
        return super().publish(folder, name)

    def refresh(self, name: str) -> None:
        """Raises `ValueError` or `CalledProcessError` where the folder cannot be published any more."""
        with self._publishing:
            self.publish(self.folders[name], name)

    @property
    def address(self) -> str:
        return super().address.replace("//0.0.0.0:", f"//{_own_address()}:")


class FolderHandler(Handler):
    def serve(self, path: str, query: str) -> None:
        route = ROUTE.fullmatch(path)
        host = self.server.host
        if route is not None and route[2] == "info/refs" and isinstance(host, FolderHost):
            try:
                host.refresh(route[1])
            except (ValueError, OSError, subprocess.CalledProcessError) as problem:
                sys.stderr.write(f"githost: {_said(problem)}\n")
                self.refuse(500, "the folder cannot be published")
                return
        super().serve(path, query)


def _own_address() -> str:
    """The one that others on the network most likely find this machine at. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _said(problem: Exception) -> str:
    if isinstance(problem, subprocess.CalledProcessError):
        return f"git {problem.cmd[1]} failed: {str(problem.stderr).strip() or problem.returncode}"
    return str(problem)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.githost",
        description="Serve folders as read-only Git repositories. What a folder holds when it is fetched is what is "
        "fetched, as one commit; what its .gitignore names is left out. Ends with Ctrl-C.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="called like the folder")
    parser.add_argument("--port", type=int, default=0, help="listen on this port (default: any free one)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="listen on this address (default: 127.0.0.1, this machine alone). Whoever reaches it reads the folders",
    )
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="machete-git-"))
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with FolderHost(root, port=arguments.port, host=arguments.host) as host:
            for folder in arguments.folders:
                print(host.publish(folder), flush=True)
            signal.pause()
    except KeyboardInterrupt:
        return 0
    except (ValueError, OSError, OverflowError, subprocess.CalledProcessError) as problem:
        sys.stderr.write(f"githost: {_said(problem)}\n")
        return 2
    finally:
        shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
