"""Tests that share an engine are never carried out side by side, whatever pytest and pytest-xdist make of their ids."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.rows import ROWS, group_of

ROOT = Path(__file__).parents[2]


def carried_out(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Twenty tests of each of four folders, in two processes."""
    (folder / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = ["--import-mode=importlib"]\n')
    for name in ("chaos", "platform", "engine", "bus"):
        (folder / "tests" / name).mkdir(parents=True)
        text = "import pytest\n@pytest.mark.parametrize('n', range(20))\ndef test_one(n): pass\n"
        (folder / "tests" / name / "test_some.py").write_text(text)
    (folder / "conftest.py").write_text(
        "from tests.support.rows import RowKeeper, RowScheduling, long_ones_first\n"
        "def pytest_configure(config): config.pluginmanager.register(RowKeeper())\n"
        "def pytest_collection_modifyitems(items): items[:] = long_ones_first(items)\n"
        + (
            ""
            if "loadscope" not in options
            else "def pytest_xdist_make_scheduler(config, log): return RowScheduling(config, log)\n"
        )
    )
    argv = [sys.executable, "-m", "pytest", "-v", "-n", "2", "--dist", *options, "-p", "no:cacheprovider", "tests"]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)})


def test_each_group_is_carried_out_in_one_process(tmp_path: Path) -> None:
    ended = carried_out(tmp_path, "loadscope", "--no-loadscope-reorder")
    seen = re.findall(r"\[(gw\d)\] .* PASSED (tests/\w+)/", ended.stdout)
    assert len(seen) == 80, ended.stdout + ended.stderr
    processes = {
        group: {process for process, folder in seen if group_of(f"{folder}/x.py") == group}
        for group in ("row-0", "row-1")
    }
    assert all(len(of_group) == 1 for of_group in processes.values()), processes
    assert processes["row-0"] != processes["row-1"]


def test_a_run_that_tears_a_group_apart_is_ended_and_says_so(tmp_path: Path) -> None:
    ended = carried_out(tmp_path, "load")
    assert ended.returncode != 0
    assert re.search(r"(row-0|row-1|tests/bus/\S+) is carried out in gw\d and in gw\d", ended.stdout), ended.stdout


def test_every_folder_of_a_row_is_there_and_in_one_row() -> None:
    folders = [folder for row in ROWS for folder in row]
    assert len(folders) == len(set(folders))
    assert all((ROOT / "tests" / folder).is_dir() for folder in folders)
