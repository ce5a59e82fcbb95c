"""The library for wrong clocks: it is brought, and it changes the time of one process alone."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.setup import faketime
from deploy.setup.shell import PersonNeeded
from tests.support.clocks import wrong

CLOCKS = "import time; print(time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME))"


def test_a_process_has_another_time_of_day_and_everybody_s_measure_of_durations() -> None:
    """Heartbeats and watchdogs are measured by clocks that a wrong time of day does not touch."""
    said = subprocess.run(
        [sys.executable, "-I", "-c", CLOCKS],
        env=wrong("+1h"),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    of_day, monotonic, boot = map(float, said.split())
    assert of_day - time.time() == pytest.approx(3600, abs=60)
    assert monotonic - time.monotonic() == pytest.approx(0, abs=60)
    assert boot - time.clock_gettime(time.CLOCK_BOOTTIME) == pytest.approx(0, abs=60)


def test_somebody_without_the_rights_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(faketime, "LIBRARIES", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PersonNeeded, match="libfaketime"):
        faketime.ensure()
