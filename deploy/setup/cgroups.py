"""Control groups for an engine on a machine whose init does not mount them."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from deploy.setup.shell import SetupFailed, run, say

ROOT = "/sys/fs/cgroup"
NEEDED = ("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids")


@dataclass(frozen=True)
class Mount:
    """One `mount -t <kind> -o <options> <kind> <target>`."""

    kind: str
    options: str
    target: str


def missing_mounts(proc_cgroups: str, proc_mounts: str) -> list[Mount]:
    """What to mount so that containers can be limited: from the texts of /proc/cgroups and /proc/mounts.

    A controller that a version 1 hierarchy holds cannot be had in version 2: one such decides for version 1.
    """
    mounted = [line.split() for line in proc_mounts.splitlines()]
    if any(entry[1] == ROOT and entry[2] == "cgroup2" for entry in mounted):
        return []
    there = {option for entry in mounted if entry[2] == "cgroup" for option in entry[3].split(",")}
    controllers = [line.split() for line in proc_cgroups.splitlines() if not line.startswith("#")]
    enabled = [(name, hierarchy) for name, hierarchy, _, on in controllers if on == "1" and name in NEEDED]
    root_is_mounted = any(entry[1] == ROOT for entry in mounted)
    if not root_is_mounted and all(hierarchy == "0" for _, hierarchy in enabled):
        return [Mount("cgroup2", "nosuid,nodev,noexec", ROOT)]
    folder = [] if root_is_mounted else [Mount("tmpfs", "mode=755", ROOT)]
    wanted = [name for name, _ in enabled if name not in there]
    return folder + [Mount("cgroup", name, f"{ROOT}/{name}") for name in wanted]


def ensure() -> None:
    for mount in missing_mounts(Path("/proc/cgroups").read_text(), Path("/proc/mounts").read_text()):
        say(f"engine: mounting {mount.target}")
        os.makedirs(mount.target, exist_ok=True)
        run(["mount", "-t", mount.kind, "-o", mount.options, mount.kind, mount.target])
    if Path(ROOT, "cgroup.controllers").is_file():
        _delegate(Path(ROOT))


def _delegate(root: Path) -> None:
    """Version 2 only: let child groups use every controller this group has.

    Inside a container the group we see is not the kernel's root and may not hold processes while it
    delegates, so they move into a child first.
    """
    available = (root / "cgroup.controllers").read_text().split()
    delegated = (root / "cgroup.subtree_control").read_text().split()
    missing = [name for name in available if name not in delegated]
    if not missing:
        return
    try:
        _enable(root, missing)
    except OSError as problem:
        if problem.errno != errno.EBUSY:
            raise SetupFailed(f"cannot delegate the controllers {missing} of {root}: {problem.strerror}") from problem
        _move_processes(root, root / "init")
        _enable(root, missing)


def _enable(root: Path, controllers: list[str]) -> None:
    (root / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))


def _move_processes(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for pid in (source / "cgroup.procs").read_text().split():
        try:
            (target / "cgroup.procs").write_text(pid)
        except ProcessLookupError:
            continue  # it ended while we looked
