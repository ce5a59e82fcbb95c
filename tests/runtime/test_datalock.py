"""One platform on one data folder."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from libs.runtime.datalock import DataHeld, DataLock, holder_of

ROOT = Path(__file__).parents[2]
HOLD = """
import subprocess, sys, time
from pathlib import Path
from libs.runtime.datalock import DataLock
lock = DataLock(Path(sys.argv[1]))
lock.acquire()
lock.announce("http://127.0.0.1:8080")
heir = subprocess.Popen(["sleep", sys.argv[2]], pass_fds=[lock.fileno()])
print(heir.pid, flush=True)
time.sleep(1000)
"""


def holding_process(folder: Path, heir_lives: float = 0) -> subprocess.Popen[str]:
    """A process that has the lock, and has handed it on to one that lives so many seconds."""
    argv = [sys.executable, "-c", HOLD, str(folder), str(heir_lives)]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_second_start_is_told_who_holds_the_data_since_when_and_where(tmp_path: Path):
    first = holding_process(tmp_path)
    try:
        with pytest.raises(DataHeld) as refusal:
            DataLock(tmp_path).acquire()
    finally:
        first.kill()
        first.communicate()
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", str(refusal.value))
    assert text == (
        f"{tmp_path} is in use by process {first.pid} since TIME at http://127.0.0.1:8080: "
        "stop that one first, or use another data folder"
    )


def test_a_lock_left_by_a_killed_process_is_no_obstacle(tmp_path: Path):
    first = holding_process(tmp_path)
    first.kill()
    first.communicate()
    with DataLock(tmp_path):
        holder = holder_of(tmp_path)
        assert holder is not None
        assert holder.pid == os.getpid()
    assert holder_of(tmp_path) is None


def test_what_a_killed_holder_left_running_is_waited_for(tmp_path: Path):
    first = holding_process(tmp_path, heir_lives=1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    begun = time.monotonic()
    with DataLock(tmp_path):
        assert time.monotonic() - begun > 0.3
    first.communicate()


def test_what_a_killed_holder_left_running_for_good_is_an_error(tmp_path: Path):
    first = holding_process(tmp_path, heir_lives=3)
    first.kill()
    first.wait()
    with pytest.raises(DataHeld, match=f"in use by process {first.pid}"):
        DataLock(tmp_path).acquire(patience=0.1)
    first.communicate()


def test_a_damaged_lock_file_still_locks(tmp_path: Path):
    (tmp_path / "lock").write_text("no json")
    with DataLock(tmp_path):
        (tmp_path / "lock").write_text("no json")
        with pytest.raises(DataHeld, match="in use by another process"):
            DataLock(tmp_path).acquire(patience=0)


def test_releasing_lets_the_next_one_in(tmp_path: Path):
    lock = DataLock(tmp_path)
    for _ in range(3):
        lock.acquire()
        lock.release()
        lock.release()
