"""The page, and what it asks for: `POST /logs` takes a log as plain text, `GET /logs` shows all digests."""

import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from urllib.parse import parse_qs, urlsplit

from store import cache, database, overview, paste

PAGE = Path(__file__).with_name("page.html").read_bytes()
MOST_BYTES = 5 * 1024 * 1024


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        match urlsplit(self.path).path:
            case "/":
                self._send(200, "text/html; charset=utf-8", PAGE)
            case "/logs":
                self._json(200, overview())
            case "/health":
                self._health()
            case _:
                self._json(404, {"error": "there is nothing here: see /"})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if urlsplit(self.path).path != "/logs" or not 0 < length <= MOST_BYTES:
            self.close_connection = True
            self._json(400, {"error": f"POST /logs takes a log of at most {MOST_BYTES} bytes as text"})
            return
        body = self.rfile.read(length).decode("utf-8", "replace").replace("\0", "")
        title = parse_qs(urlsplit(self.path).query).get("title", ["a log"])[0][:100].replace("\0", "")
        self._json(202, {"id": paste(title, body)})

    def _health(self) -> None:
        """Well when both are there that it cannot do without."""
        try:
            cache().ping()
            with database() as opened:
                opened.execute("select 1 from logs limit 1")
        except Exception as problem:
            self._json(503, {"status": "not well", "why": repr(problem)})
        else:
            self._json(200, {"status": "ok"})

    def _json(self, status: int, value: object) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        if self.path != "/health":
            print(f"{self.address_string()} {format % args}", flush=True)


def main() -> None:
    server = ThreadingHTTPServer(("", 8080), Handler)

    def stop(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    print("listening on port 8080", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
