"""What all tests share. The folder a test lies in is its marker: `-m engine` runs tests/engine."""

import signal
from pathlib import Path

import pytest

from tests.support.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]

TESTS = Path(__file__).parent

# A shell lets what it starts in the background ignore Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    for folder in sorted(entry.name for entry in TESTS.iterdir() if entry.is_dir()):
        config.addinivalue_line("markers", f"{folder}: the tests in tests/{folder}; set by folder")


# What shares an engine is carried out in two rows, whose tests are known to leave one another alone; the rest by file.
ROWS = (("chaos", "platform", "cli", "deploy", "bench"), ("e2e", "engine", "orchestrator", "examples"))


@pytest.hookimpl(tryfirst=True)  # before xdist looks for the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folders = item.path.relative_to(TESTS).parts[:-1]
        if folders:
            item.add_marker(folders[0])
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    order = [f"row-{number}" for number in range(len(ROWS))]
    items.sort(key=lambda item: order.index(group) if (group := _group(item)) in order else len(order))


def _group(item: pytest.Item) -> str:
    """Tests of one group run one after the other, in one process."""
    path = item.path.relative_to(TESTS)
    return next((f"row-{number}" for number, row in enumerate(ROWS) if path.parts[0] in row), path.as_posix())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """A promise nobody looked at is not kept: a skipped test fails."""
    report: pytest.TestReport = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and no test may be: {report.longrepr}"
    return report
