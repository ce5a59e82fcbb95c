"""libfaketime, with which the tests give one process a clock of its own; the machine's stays as it is."""

from __future__ import annotations

import os
from pathlib import Path

from deploy.setup import debian
from deploy.setup.shell import MACHINE, PersonNeeded, SetupFailed, alone, say

PACKAGE = "libfaketime"
LIBRARIES = Path("/usr/lib")


def found() -> Path | None:
    """The library to preload, in the build for programs with threads."""
    return next(iter(sorted(LIBRARIES.glob("*/faketime/libfaketimeMT.so.1"))), None)


def ensure() -> None:
    if found() is not None:
        return say(f"libfaketime: {found()} is there")
    if os.geteuid() != 0 or not debian.is_bookworm():
        raise PersonNeeded(
            f"the tests of wrong clocks need libfaketime (package {PACKAGE}) below {LIBRARIES}: install it "
            "(set-up does so by itself as root on Debian 12)"
        )
    with alone(MACHINE):
        debian.ensure_packages([PACKAGE])
    if found() is None:
        raise SetupFailed(f"{PACKAGE} is installed, but there is no libfaketimeMT.so.1 below {LIBRARIES}")
