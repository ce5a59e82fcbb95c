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


# Where tests run side by side, these folders are one piece each: what they start is started once.
WHOLE = ("bench", "chaos", "platform")
# The longest first and last, so that nobody waits for one piece at the end.
ORDER = {"chaos": -1, "platform": 1, "e2e": 2}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder, *rest = item.path.relative_to(TESTS).parts
        if rest:
            item.add_marker(folder)
        item.add_marker(pytest.mark.xdist_group(folder if folder in WHOLE else "/".join((folder, *rest))))
    items.sort(key=lambda item: ORDER.get(item.path.relative_to(TESTS).parts[0], 0))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """A promise nobody looked at is not kept: a skipped test fails."""
    report: pytest.TestReport = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and no test may be: {report.longrepr}"
    return report
