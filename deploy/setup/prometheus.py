"""Debian's Prometheus, to which the tests hold metrics, alerts and dashboard; they start it themselves."""

from __future__ import annotations

import os
import shutil

from deploy.setup import debian
from deploy.setup.daemon import SYSTEMD
from deploy.setup.shell import MACHINE, PersonNeeded, alone, run, say

PACKAGE = "prometheus"
PROGRAMS = ("prometheus", "promtool")


def missing() -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program) is None]


def ensure() -> None:
    if not missing():
        return say("prometheus: the program and promtool are there")
    if os.geteuid() != 0 or not debian.is_bookworm():
        raise PersonNeeded(
            f"{' and '.join(missing())} is missing, and only root on Debian 12 can install it here: "
            "put Prometheus 2.42 or newer, with its promtool, on the PATH"
        )
    with alone(MACHINE):
        debian.ensure_packages([PACKAGE])
    if SYSTEMD.is_dir():
        # The package would have one start with the machine, which nobody asked for.
        run(["systemctl", "disable", PACKAGE])
