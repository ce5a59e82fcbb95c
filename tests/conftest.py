"""What all tests share. The folder a test lies in is its marker: `-m engine` runs tests/engine."""

import signal
from asyncio import CancelledError
from pathlib import Path
from typing import Any

import _pytest.runner
import pytest

from tests.support.postgres import postgres, postgres_url
from tests.support.rows import RowKeeper, RowScheduling, long_ones_first

__all__ = ["postgres", "postgres_url"]

TESTS = Path(__file__).parent

# A fixture that ended with a CancelledError would leave pytest's stack of fixtures half taken down, and what is left of
# it, folders and all, to every test that comes after.
_pytest.runner.TEST_OUTCOME = (*_pytest.runner.TEST_OUTCOME, CancelledError)  # pyright: ignore[reportPrivateImportUsage]

# A shell lets what it starts in the background ignore Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(RowKeeper())
    for folder in sorted(entry.name for entry in TESTS.iterdir() if entry.is_dir()):
        config.addinivalue_line("markers", f"{folder}: the tests in tests/{folder}; set by folder")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folders = item.path.relative_to(TESTS).parts[:-1]
        if folders:
            item.add_marker(folders[0])
    items[:] = long_ones_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> RowScheduling:
    return RowScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """A promise nobody looked at is not kept: a skipped test fails."""
    report: pytest.TestReport = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and no test may be: {report.longrepr}"
    return report
