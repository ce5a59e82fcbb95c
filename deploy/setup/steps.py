"""The steps of set-up in their order, and the exit codes people and scripts rely on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from deploy.setup import daemon, engine, faketime, images, postgres, prometheus, python_env, sshd
from deploy.setup.shell import PersonNeeded, SetupFailed, alone, say

ROOT = Path(__file__).resolve().parents[2]
DONE, FAILED, PERSON_NEEDED, INTERRUPTED = 0, 1, 3, 130


def dependencies() -> None:
    with alone(ROOT):
        python_env.ensure(ROOT)


def everything() -> None:
    dependencies()
    engine.ensure()
    images.ensure()


def tests() -> None:
    """What only the tests need: programs that they start themselves, on ports of their own."""
    everything()
    postgres.ensure()
    prometheus.ensure()
    sshd.ensure()
    faketime.ensure()


STEPS: dict[str, Callable[[], None]] = {
    "all": everything,
    "tests": tests,
    "python": dependencies,
    "engine": engine.ensure,
    "images": images.ensure,
    "postgres": postgres.ensure,
    "prometheus": prometheus.ensure,
    "sshd": sshd.ensure,
    "faketime": faketime.ensure,
    "engine-status": engine.status,
    "engine-stop": daemon.stop,
}


def main(arguments: list[str]) -> int:
    name = arguments[0] if arguments else "all"
    if name not in STEPS or len(arguments) > 1:
        sys.stderr.write(f"setup: unknown step {' '.join(arguments)!r}; there are: {', '.join(STEPS)}\n")
        return FAILED
    # Daemons, dpkg and iptables live where the PATH of a plain login shell does not look.
    os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
    try:
        STEPS[name]()
    except PersonNeeded as what:
        sys.stderr.write(f"setup: {what}\n")
        return PERSON_NEEDED
    except SetupFailed as problem:
        sys.stderr.write(f"setup: failed: {problem}\n")
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("\nsetup: interrupted; run it again to go on\n")
        return INTERRUPTED
    if name in ("all", "tests"):
        say("ready")
    return DONE
