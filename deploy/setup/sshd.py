"""OpenSSH's server program, for the tests: each starts one of its own on loopback, none of the system's ever runs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from deploy.setup import debian
from deploy.setup.shell import MACHINE, PersonNeeded, SetupFailed, alone, say

PACKAGE = "openssh-server"
UNITS = Path("/etc/systemd/system")
SERVICES = ("ssh.service", "ssh.socket")


def found() -> str | None:
    """The path of the server program; it lies where the PATH of a plain login shell does not look."""
    return shutil.which("sshd", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")))


def ensure() -> None:
    if found():
        return say(f"sshd: {found()} is there")
    if os.geteuid() != 0 or not debian.is_bookworm():
        raise PersonNeeded(
            f"the tests of Git over ssh need OpenSSH's server program (sshd, package {PACKAGE}): install it "
            "(set-up does so by itself as root on Debian 12); it need not be started"
        )
    with alone(MACHINE):
        _keep_off()
        debian.ensure_packages((PACKAGE,))
    if not found():
        raise SetupFailed(f"{PACKAGE} is installed, but there is no sshd in /usr/sbin")


def _keep_off() -> None:
    """The package lets its service start with the machine; here nobody asked for a server that listens.

    `systemctl unmask ssh.service` takes that back for somebody who wants one.
    """
    if not UNITS.is_dir():
        return
    for service in SERVICES:
        if not os.path.lexists(UNITS / service):
            (UNITS / service).symlink_to("/dev/null")
