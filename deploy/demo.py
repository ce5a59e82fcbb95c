"""`make demo`: a platform of its own, an example published over Git, installed, started, and proven to answer.

    python -m deploy.demo [--once]

Everything it does goes through the `machete` command, as a user would do it. Its data is in `.machete/demo`;
leaving removes the tool it installed and stops the platform.
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
from urllib.error import URLError

from deploy.githost import GitHost
from deploy.setup.images import build_args

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / ".machete" / "demo"
EXAMPLE = ROOT / "examples" / "hello-web"
MACHETE = Path(sys.executable).with_name("machete")
PORT = "0"
STARTS_WITHIN = 60.0


class DemoFailed(Exception):
    """The demo did not come to its proof; the text says where it stopped."""


def main(arguments: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with GitHost(_fresh(DATA.parent / "git")) as host, _platform() as environment:
            url = host.publish(EXAMPLE)
            say(f"Published {EXAMPLE.relative_to(ROOT)} as a Git repository: {url}")
            address = _install(url, environment)
            _machete("list", environment=environment)
            _machete("logs", "hello-web", environment=environment)
            say(f"\n  The tool answers at {address}\n")
            if "--once" not in arguments:
                say("Try: machete list, machete logs -f hello-web (with the environment below). Ctrl-C ends the demo.")
                say(f"  export MACHETE_DATA={DATA}")
                _wait_for_interrupt()
            _machete("uninstall", "hello-web", "--yes", "--data", environment=environment)
    except KeyboardInterrupt:
        say("\nInterrupted.")
        return 130
    except DemoFailed as failed:
        sys.stderr.write(f"demo: {failed}\n")
        return 1
    say("The demo has come to its end; the example and the platform are gone again.")
    return 0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _install(url: str, environment: Mapping[str, str]) -> str:
    """Installs and starts; returns the address at which the tool was seen to answer."""
    if "hello-web" in _names(environment):
        say("An earlier demo left its tool; removing it.")
        _machete("uninstall", "hello-web", "--yes", "--data", "--now", environment=environment)
    _machete("install", url, "--start", environment=environment)
    shown = json.loads(_machete("show", "hello-web", "--json", environment=environment, quiet=True))
    address = str(shown["urls"][0])
    with urllib.request.urlopen(address, timeout=10) as answer:
        if answer.status != 200:
            raise DemoFailed(f"{address} answered {answer.status}")
        say(f"GET {address} -> {answer.status}, {len(answer.read())} bytes")
    return address


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
