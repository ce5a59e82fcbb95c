"""What a tree of processes takes: memory and processor time, as the kernel counts them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """`pss` and `rss` in bytes; PSS counts a page that n processes share as an nth for each."""

    pid: int
    name: str
    pss: int
    rss: int


@dataclass(frozen=True)
class Times:
    """Of one process: its parent, and processor seconds of its own and of children it has waited for."""

    parent: int
    seconds: float


def times_in(stat: str) -> Times:
    """What a line of `/proc/<pid>/stat` says. The name in it may hold anything, brackets and blanks too."""
    fields = stat[stat.rindex(")") + 2 :].split()
    return Times(parent=int(fields[1]), seconds=sum(int(ticks) for ticks in fields[11:15]) / TICKS)


def sizes_in(rollup: str) -> tuple[int, int]:
    """PSS and RSS in bytes, from the text of `/proc/<pid>/smaps_rollup`."""
    sizes = {line.split(":")[0]: line.split() for line in rollup.splitlines()[1:]}
    return int(sizes["Pss"][1]) * 1024, int(sizes["Rss"][1]) * 1024


def below(root: int, parents: Mapping[int, int]) -> list[int]:
    """The root and all that descend from it, given each process's parent."""
    found = [root]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found


def tree(root: int) -> list[int]:
    return below(root, {pid: times.parent for pid, times in _all().items()})


def usage(root: int) -> list[Usage]:
    """Of each process of the tree, as it is now."""
    return [_usage(pid) for pid in tree(root)]


def processor_seconds(pids: Iterable[int]) -> float:
    known = _all()
    return sum(known[pid].seconds for pid in pids if pid in known)


def _all() -> dict[int, Times]:
    found: dict[int, Times] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = times_in((entry / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def _usage(pid: int) -> Usage:
    pss, rss = sizes_in((PROC / str(pid) / "smaps_rollup").read_text())
    words = (PROC / str(pid) / "cmdline").read_text().split("\0")
    return Usage(pid, " ".join(Path(word).name for word in words[:4] if word and not word.startswith("-")), pss, rss)
