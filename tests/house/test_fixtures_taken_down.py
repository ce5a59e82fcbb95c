"""A fixture that breaks in whatever way costs the tests after it nothing."""

import subprocess
import sys
from pathlib import Path

CASE = """
import asyncio
import pytest

@pytest.fixture
async def breaks(tmp_path):
    yield
    raise asyncio.CancelledError

async def test_first(breaks, tmp_path): (tmp_path / "once").mkdir()
async def test_second(tmp_path): (tmp_path / "once").mkdir()
"""
ROOT = Path(__file__).parents[2]


def test_a_cancelled_fixture_leaves_nothing_to_the_tests_after_it() -> None:
    case = ROOT / "tests" / "house" / "made_for_a_moment.py"
    case.write_text(CASE)
    try:
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(case)]
        ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    finally:
        case.unlink()
    assert "2 passed, 1 error" in ended.stdout, ended.stdout
