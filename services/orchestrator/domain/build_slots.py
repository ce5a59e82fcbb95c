"""How many builds an engine's host bears at once. Decided from its size alone."""

from __future__ import annotations

GIB = 1024**3
# One that waits for the network leaves the other the processor.
FEWEST = 2


def slots_for(cores: int, memory: int) -> int:
    """Half the cores, but two where there are fewer than four; one for each GiB of memory (bytes) at most."""
    return max(1, min(max(FEWEST, cores // 2), memory // GIB))


def waiting_line(taken: int, before: int) -> str:
    """What a build that waits says in its operation's log."""
    running = "1 build runs" if taken == 1 else f"{taken} builds run"
    return f"waits for a free build slot, {before} before it ({running})"
