"""How tests are spread over the processes that carry them out side by side.

Tests of one group are carried out one after the other, in one process. What shares an engine, its ports and its load,
is in two rows, whose tests are known to leave one another alone; the rest is grouped by file.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

ROWS = (("chaos", "platform", "cli", "deploy", "bench"), ("e2e", "engine", "orchestrator", "examples"))
TESTS = "tests/"


def group_of(nodeid: str) -> str:
    """The row of the test's folder, `row-0` or `row-1`; else its file, such as `tests/bus/test_reader.py`."""
    path = nodeid.split("::", maxsplit=1)[0]
    folder = path.removeprefix(TESTS).split("/", maxsplit=1)[0]
    return next((f"row-{number}" for number, row in enumerate(ROWS) if folder in row), path)


def long_ones_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """In the order in which groups are handed out: the rows, which take longest, and then the files."""
    rows = [f"row-{number}" for number in range(len(ROWS))]
    return sorted(items, key=lambda item: rows.index(group) if (group := group_of(item.nodeid)) in rows else len(rows))


class RowScheduling(LoadScopeScheduling):
    """By group. (pytest-xdist's own groups are ids with a suffix, which pytest 9.2 takes no notice of.)"""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


class RowKeeper:
    """Ends the run when a group is torn apart: its tests would disturb one another, at random."""

    def __init__(self) -> None:
        self._process_of: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        process = getattr(report, "worker_id", None)
        if process is None:
            return
        group = group_of(report.nodeid)
        first = self._process_of.setdefault(group, process)
        if first != process:
            pytest.exit(f"{group} is carried out in {first} and in {process}: {report.nodeid}", returncode=3)
