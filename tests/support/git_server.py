"""A real Git server over HTTP that can be told to behave badly.

with GitServer(tmp_path) as server:
    url = server.publish(folder)
    with server.holding():      # a fetch goes this far, and no further
        ...
        server.wait_until_held()
"""

import base64
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import cast

from deploy.githost import GitHost, Handler, git

PATIENCE = 30.0


class GitServer(GitHost):
    """`requests` are the lines of all requests so far; `answers` maps paths to what is said instead."""

    def __init__(self, folder: Path, host: str = "127.0.0.1"):
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, host=host)
        self.requests: list[str] = []
        self.answers: dict[str, tuple[int, dict[str, str], str]] = {}
        self.login: str | None = None
        self.dumb = False
        self.hold_after: int | None = None
        self._held = threading.Event()
        self._released = threading.Event()
        self._dropping = False

    def handler(self) -> type[Handler]:
        return MischievousHandler

    def __exit__(self, *_: object) -> None:
        self._released.set()
        super().__exit__(*_)

    def require_login(self, user: str, password: str) -> None:
        self.login = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    @contextmanager
    def holding(self, *, after: int = 0) -> Generator[None]:
        """Packs stop after so many bytes of their answer, until the context is left."""
        self.hold_after = after
        self._dropping = False
        self._held.clear()
        self._released.clear()
        try:
            yield
        finally:
            self.hold_after = None
            self._released.set()

    def wait_until_held(self) -> None:
        """Returns once a client has got its bytes and waits for more."""
        if not self._held.wait(PATIENCE):
            raise TimeoutError(f"no fetch arrived within {PATIENCE} s; requests so far: {self.requests}")

    def drop_connections(self) -> None:
        """Whoever is held gets nothing more, not even an end."""
        self._dropping = True
        self._released.set()

    def hold(self) -> None:
        self._held.set()
        self._released.wait(PATIENCE)
        if self._dropping:
            raise ConnectionResetError

    def serve_files(self) -> None:
        """From now on, a server of files alone, as any web server is: Git's dumb protocol."""
        for name in self.published:
            git(f"--git-dir={self.repository(name)}", "update-server-info")
        self.dumb = True


class MischievousHandler(Handler):
    @property
    def host(self) -> GitServer:
        return cast("GitServer", self.server.host)

    def answer(self) -> None:
        self.host.requests.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        if self.host.login is not None and self.headers.get("Authorization") != self.host.login:
            self.refuse(401, "who are you?", WWW_Authenticate='Basic realm="git"')
        elif path in self.host.answers:
            status, headers, body = self.host.answers[path]
            self.refuse(status, body, **headers)
        elif self.host.dumb:
            self.file(path)
        else:
            super().answer()

    def file(self, path: str) -> None:
        name, _, inside = path.lstrip("/").partition(".git/")
        file = self.host.repository(name) / inside
        if name not in self.host.published or ".." in inside or not file.is_file():
            self.refuse(404, "not here")
            return
        body = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def pieces(self, output: BufferedReader) -> Iterator[bytes]:
        left = self.host.hold_after if b"command=fetch" in self.asked else None
        for chunk in super().pieces(output):
            if left is None or left >= len(chunk):
                yield chunk
                left = left and left - len(chunk)
                continue
            if left:
                yield chunk[:left]
            self.wfile.flush()
            self.host.hold()
            yield chunk[left:]
            left = None
