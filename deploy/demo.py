"""`make demo`: a platform of its own; a tool and a stack published over Git, installed, started, and seen to work.

    python -m deploy.demo [--once]

Everything it does goes through the `machete` command, as a user would do it. Its data is in `.machete/demo`; leaving
removes the tools it installed, stops the platform and removes that. Cut off before, it leaves its data, by which the
next demo finds the tools to remove.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

from deploy.githost import GitHost
from deploy.setup.images import build_args

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / ".machete" / "demo"
TOOL = ROOT / "examples" / "hello-web"
STACK = ROOT / "examples" / "log-digest"
MACHETE = Path(sys.executable).with_name("machete")
PORT = "0"
STARTS_WITHIN = 60.0
DIGESTS_WITHIN = 60.0


class DemoFailed(Exception):
    """The demo did not come to its proof; the text says where it stopped."""


def main(arguments: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with GitHost(_fresh(DATA.parent / "git")) as host, _platform() as environment:
            hello = _install(host, TOOL, environment)
            with urllib.request.urlopen(hello, timeout=10) as answer:
                say(f"GET {hello} -> {answer.status}, {len(answer.read())} bytes\n")
            digest = _install(host, STACK, environment)
            _machete("show", STACK.name, environment=environment)
            _digest(digest, environment)
            _machete("list", environment=environment)
            say(f"\n  One container, {TOOL.name}, answers at {hello}")
            say(f"  A stack of four services, {STACK.name}, answers at {digest}\n")
            if "--once" not in arguments:
                say("Try: machete list, machete logs -f log-digest (with the environment below). Ctrl-C ends the demo.")
                say(f"  export MACHETE_DATA={DATA}")
                _wait_for_interrupt()
            for example in (TOOL, STACK):
                _machete("uninstall", example.name, "--yes", "--data", environment=environment)
    except KeyboardInterrupt:
        say("\nInterrupted.")
        return 130
    except DemoFailed as failed:
        sys.stderr.write(f"demo: {failed}\n")
        return 1
    for folder in (DATA, DATA.parent / "git"):
        shutil.rmtree(folder)
    say("The demo has come to its end; the examples, the platform and its data are gone again.")
    return 0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _install(host: GitHost, example: Path, environment: Mapping[str, str]) -> str:
    """Publishes it, installs and starts it; returns the address at which it answers."""
    url = host.publish(example)
    say(f"Published {example.relative_to(ROOT)} as a Git repository: {url}")
    if example.name in _names(environment):
        say("An earlier demo left its tool; removing it.")
        _machete("uninstall", example.name, "--yes", "--data", "--now", environment=environment)
    _machete("install", url, "--start", environment=environment)
    shown = json.loads(_machete("show", example.name, "--json", environment=environment, quiet=True))
    return str(shown["urls"][0])


def _digest(address: str, environment: Mapping[str, str]) -> None:
    """Lets the stack work: what the platform's own installs printed, pasted into the page, becomes patterns."""
    log = _machete("logs", _last_install(environment), environment=environment, quiet=True)
    request = urllib.request.Request(f"{address}logs?title=the+build", data=log.encode(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        say(f"POST {address}logs ({len(log.splitlines())} lines of the build's log) -> {answer.status}")
    digest = _digested(address)
    say(f"GET {address}logs -> {digest['lines']} lines are {digest['found']} patterns; the most frequent:")
    for pattern in digest["patterns"][:3]:
        say(f"  {pattern['lines']:>4} x {pattern['pattern'][:90]}")
    _machete("logs", STACK.name, "--tail", "3", environment=environment)


def _last_install(environment: Mapping[str, str]) -> str:
    page = json.loads(_machete("operations", "--tool", STACK.name, "--json", environment=environment, quiet=True))
    return str(page["operations"][-1]["id"])


def _digested(address: str) -> dict[str, Any]:
    give_up = time.monotonic() + DIGESTS_WITHIN
    while time.monotonic() < give_up:
        with urllib.request.urlopen(f"{address}logs", timeout=10) as answer:
            newest = json.loads(answer.read())[0]
        if newest["lines"] is not None:
            return newest
        time.sleep(0.2)
    raise DemoFailed(f"the worker of {STACK.name} did nothing within {DIGESTS_WITHIN:g} seconds")


def _names(environment: Mapping[str, str]) -> list[str]:
    listed = json.loads(_machete("list", "--json", environment=environment, quiet=True))
    return [tool["name"] for tool in listed["tools"]]


def _machete(*arguments: str, environment: Mapping[str, str], quiet: bool = False) -> str:
    """Runs the CLI, shown as a user would type it; returns what it printed when `quiet`."""
    if not quiet:
        say(f"$ machete {' '.join(arguments)}")
    done = subprocess.run(
        [MACHETE, *arguments], env=dict(environment), stdout=subprocess.PIPE if quiet else None, check=False, text=True
    )
    if done.returncode != 0:
        raise DemoFailed(f"`machete {' '.join(arguments)}` ended with exit code {done.returncode}")
    return done.stdout or ""


@contextmanager
def _platform() -> Generator[dict[str, str]]:
    """A platform on a free port; the environment in which the CLI finds it."""
    DATA.mkdir(parents=True, exist_ok=True)
    arguments = ",".join(f"{name}={value}" for name, value in build_args().items())
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MACHETE_")},
        "MACHETE_DATA": str(DATA),
        "MACHETE_GIT_PROTOCOLS": "https,ssh,http",
        "MACHETE_LOG_LEVEL": "warning",
        **({"MACHETE_BUILD_ARGS": arguments} if arguments else {}),
    }
    say("$ machete up")
    # A group of its own, so that Ctrl-C reaches the demo alone, which then uses the platform once more.
    platform = subprocess.Popen([MACHETE, "up", "--port", PORT], env=environment, start_new_session=True)
    try:
        _await_health(platform, environment)
        yield environment
    finally:
        _end(platform)


def _await_health(platform: subprocess.Popen[bytes], environment: Mapping[str, str]) -> None:
    give_up = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < give_up:
        if platform.poll() is not None:
            raise DemoFailed(f"the platform ended with exit code {platform.returncode}")
        if (url := _url()) is not None and _healthy(url):
            return
        time.sleep(0.1)
    raise DemoFailed(f"the platform was not healthy within {STARTS_WITHIN:g} seconds")


def _url() -> str | None:
    """Where the platform says it is, in the lock it holds on its data."""
    try:
        return json.loads((DATA / "lock").read_text())["url"]
    except (OSError, ValueError, KeyError):
        return None


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/health", timeout=2) as answer:
            return bool(json.loads(answer.read())["ready"])
    except (URLError, OSError, ValueError):
        return False


def _wait_for_interrupt() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        say("\nCleaning up.")


def _end(platform: subprocess.Popen[bytes]) -> None:
    platform.terminate()
    try:
        platform.wait(30)
    except subprocess.TimeoutExpired:
        platform.kill()
        platform.wait()


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
