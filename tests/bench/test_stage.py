"""What a bench leaves behind: nothing, even when it was killed."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from bench import engine
from bench.children import ROOT
from bench.stage import PREFIX, stage
from deploy.setup.images import BUSYBOX

# Starts a child and a labelled container, says where, and never ends by itself.
KILLED = f"""
import sys
from pathlib import Path
from bench import engine
from bench.children import running
from bench.stage import stage

with stage() as bench, running(["/bin/sleep", "600"], bench.environment(), bench.folder / "log") as child:
    made = engine.docker("run", "-d", "--label", bench.label, "{BUSYBOX}", "sleep", "600")
    print(bench.folder, child.pid, made, flush=True)
    child.wait()
"""


def containers(container: str) -> str:
    return engine.docker("ps", "-aq", "--filter", f"id={container}")


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_what_a_broken_off_bench_made_is_removed(number: signal.Signals) -> None:
    """By itself when it could; by the next one when it was killed."""
    with subprocess.Popen([sys.executable, "-c", KILLED], cwd=ROOT, stdout=subprocess.PIPE, text=True) as bench:
        assert bench.stdout is not None
        folder, child, container = bench.stdout.readline().split()
        os.kill(bench.pid, number)
        bench.wait()
    if number is signal.SIGKILL:
        with stage():
            pass
    give_up = time.monotonic() + 10
    while not gone(int(child)) and time.monotonic() < give_up:
        time.sleep(0.02)
    assert gone(int(child))
    assert not Path(folder).exists()
    assert containers(container) == ""


def test_a_bench_that_runs_is_left_alone_by_the_next() -> None:
    with stage() as first:
        with stage() as second:
            assert first.folder.exists()
            assert first.label != second.label
        assert first.folder.exists()
    assert not any(folder == first.folder for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


def test_only_what_carries_the_label_is_removed() -> None:
    with stage() as bench:
        mine, others = (
            engine.docker("create", "--label", label, BUSYBOX, "true") for label in (bench.label, f"{bench.label}x")
        )
        try:
            bench.clean()
            assert containers(mine) == ""
            assert containers(others) != ""
        finally:
            engine.docker("rm", "-f", others)
