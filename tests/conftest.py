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


# Minutes each: run with --long, which a change to what they hold must pass. What they share with others runs always.
LONG = (
    "chaos/test_at_once.py",
    "chaos/test_replicas.py",
    "e2e/test_bad_input.py",
    "e2e/test_stacks_failing.py",
    "e2e/test_stacks_mishandled.py",
    "platform/test_end_to_end.py",
    "platform/test_life_of_the_platform.py",
    "platform/test_separation.py",
    "status/test_replicas.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run those tests too that take minutes each")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        folders = item.path.relative_to(TESTS).parts[:-1]
        if folders:
            item.add_marker(folders[0])
    if config.getoption("--long") or any(Path(argument.partition("::")[0]).is_file() for argument in config.args):
        return
    long = [item for item in items if item.path.relative_to(TESTS).as_posix() in LONG]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in set(long)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """A promise nobody looked at is not kept: a skipped test fails."""
    report: pytest.TestReport = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and no test may be: {report.longrepr}"
    return report
