"""Folders to work in: their owner's alone while he lives, and gone with him."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

from libs.runtime.work_folders import sweep, work_folder

HOLDS_ONE = """
import sys
from pathlib import Path
from libs.runtime.work_folders import work_folder

with work_folder(Path(sys.argv[1]), "work-") as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_folder_in_use_is_not_swept_and_nothing_else_is_but_what_was_left(tmp_path: Path) -> None:
    (tmp_path / "work-left").mkdir()
    (tmp_path / "other").mkdir()
    with work_folder(tmp_path, "work-") as used:
        assert sweep(tmp_path, "work-") == 1
        assert used.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_what_a_killed_process_left_is_swept_and_not_while_it_lives(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HOLDS_ONE, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        assert sweep(tmp_path, "work-") == 0
        assert folder.is_dir()
        owner.send_signal(signal.SIGKILL)
    assert folder.is_dir()
    assert sweep(tmp_path, "work-") == 1
    assert not folder.exists()


def test_whoever_sweeps_all_the_time_takes_no_folder_from_who_has_just_made_it(tmp_path: Path) -> None:
    over = threading.Event()

    def sweeping() -> None:
        while not over.is_set():
            sweep(tmp_path, "work-")

    sweepers = [threading.Thread(target=sweeping) for _ in range(2)]
    for each in sweepers:
        each.start()
    try:
        for _ in range(500):
            with work_folder(tmp_path, "work-") as folder:
                (folder / "file").write_text("mine")
                assert (folder / "file").read_text() == "mine"
    finally:
        over.set()
        for each in sweepers:
            each.join()
    assert not list(tmp_path.iterdir())
