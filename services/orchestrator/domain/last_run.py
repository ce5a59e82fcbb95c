"""What a container printed in its last run: an engine that starts it again and again keeps all of it in one log."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from services.orchestrator.domain.log_frames import LogLine


def of_last_run(lines: Iterable[LogLine], ends: Sequence[int], *, but_for_present: bool = False) -> list[LogLine]:
    """Of the last run that printed anything.

    `ends` are the times at which it ended, in nanoseconds since 1970, ascending: what a run printed is not younger
    than its end. Starts would not do: a container prints before the engine notes that it has started. What came after
    the last end is of the present run, which may not have printed all that it has to say yet.
    """
    runs: dict[int, list[LogLine]] = {}
    for line in lines:
        runs.setdefault(bisect_left(ends, line.time), []).append(line)
    if but_for_present:
        runs.pop(len(ends), None)
    return runs[max(runs)] if runs else []
