"""Answers every request with what it looked like when it arrived. Standard library only; runs as process 1."""

import json
import os
import signal
import sys
import threading
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

from inspector import Request, as_json, as_page, inspect

PORT = int(os.environ.get("PORT", "8080"))
DATA = Path(os.environ.get("DATA", "data"))
GREETING = os.environ.get("GREETING", "Hello")
BODY_LIMIT = 64 * 1024  # bytes shown of a request's body


class Visits:
    """A counter that survives restarts: a new value replaces the old one in one step."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lock = threading.Lock()
        file.parent.mkdir(parents=True, exist_ok=True)
        self.count = int(file.read_text()) if file.exists() else 0

    def add(self) -> int:
        with self.lock:
            self.count += 1
            draft = self.file.with_suffix(".new")
            draft.write_text(str(self.count))
            draft.replace(self.file)
            return self.count


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "hello-web/1.0"
    visits: Visits

    def answer(self) -> None:
        request = self.read_request()
        if request.path == "/health":
            return self.send("application/json", json.dumps({"status": "ok"}))
        now = datetime.now().astimezone()
        if request.path == "/" and request.method in ("GET", "HEAD"):
            return self.send("text/html", as_page(request, now, self.visits.add(), GREETING))
        self.send("application/json", json.dumps(as_json(request, now, self.visits.count), indent=2))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def read_request(self) -> Request:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(min(length, BODY_LIMIT))
        if length > BODY_LIMIT:
            self.close_connection = True  # the rest of the body is not read, so nothing can follow it
        cut = length > BODY_LIMIT
        return inspect(self.command, self.path, self.headers.items(), body, cut=cut, client=self.client_address[0])

    def send(self, kind: str, text: str) -> None:
        payload = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    def log_message(self, format: str, *arguments: Any) -> None:
        if self.path != "/health":
            print(f"{self.client_address[0]} {format % arguments}", flush=True)


def main() -> None:
    Handler.visits = Visits(DATA / "visits")
    server = ThreadingHTTPServer(("0.0.0.0", PORT), Handler)
    server.daemon_threads = True

    def stop(number: int, _: FrameType | None) -> None:
        print(f"{signal.Signals(number).name}: good-bye", flush=True)
        # From another thread: shutdown waits for the loop that this very handler interrupts.
        threading.Thread(target=server.shutdown).start()

    # Process 1 has no default for SIGTERM: unheard, it would end in a kill ten seconds later.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    print(f"hello-web on Python {sys.version.split()[0]}, {Handler.visits.count} visits so far", flush=True)
    print(f"listening on port {PORT}", flush=True)
    server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
