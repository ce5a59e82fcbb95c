"""The example hello-web, run as it runs in its container, and what it makes of a request."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "hello-web"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(data: Path, greeting: str = "Hello") -> Iterator[tuple[str, subprocess.Popen[str]]]:
    port = free_port()
    environment = {**os.environ, "PORT": str(port), "DATA": str(data), "GREETING": greeting}
    command = [sys.executable, "server.py"]
    with subprocess.Popen(command, cwd=EXAMPLE, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert "hello-web on Python" in process.stdout.readline()
            assert f"listening on port {port}" in process.stdout.readline()
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.kill()


def get(url: str, body: bytes | None = None) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=10) as answer:
        return answer.read().decode()


def test_it_is_healthy_as_soon_as_it_says_that_it_listens(tmp_path: Path) -> None:
    with running(tmp_path) as (url, _):
        assert json.loads(get(f"{url}/health")) == {"status": "ok"}


def test_it_ends_at_once_when_told_to(tmp_path: Path) -> None:
    with running(tmp_path) as (_, process):
        before = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0
        assert time.monotonic() - before < 2


def test_the_count_of_visits_survives_a_restart(tmp_path: Path) -> None:
    with running(tmp_path) as (url, _):
        assert "Visit number 1," in get(url)
    with running(tmp_path) as (url, _):
        assert "Visit number 2," in get(url)


def test_the_page_shows_the_greeting_as_text(tmp_path: Path) -> None:
    with running(tmp_path, greeting="<b>Hi</b>") as (url, _):
        assert "<h1>&lt;b&gt;Hi&lt;/b&gt;</h1>" in get(url)


@pytest.mark.parametrize(
    ("body", "shown", "encoding"), [(b"some=data", "some=data", "utf-8"), (b"\xff\xfe", "//4=", "base64")]
)
def test_a_request_is_shown_as_it_arrived(tmp_path: Path, body: bytes, shown: str, encoding: str) -> None:
    with running(tmp_path) as (url, _):
        request = json.loads(get(f"{url}/any/path?a=1&b=", body))["request"]
    assert (request["method"], request["path"]) == ("POST", "/any/path")
    assert request["query"] == [["a", "1"], ["b", ""]]
    assert (request["body"], request["body_encoding"]) == (shown, encoding)
    assert ["Content-Length", str(len(body))] in request["headers"]


def test_only_the_beginning_of_a_long_body_is_shown(tmp_path: Path) -> None:
    with running(tmp_path) as (url, _):
        request = json.loads(get(f"{url}/long", b"x" * 70_000))["request"]
    assert request["body_is_cut"] is True
    assert len(request["body"]) == 64 * 1024
