"""The parts of set-up that touch neither packages nor an engine."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from deploy.setup import python_env, shell, steps
from deploy.setup.images import busybox_archive

ROOT = Path(__file__).parents[2]


def test_the_environment_is_made_anew_when_what_it_stands_on_changes(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("a==1")
    first = python_env.fingerprint(tmp_path, "3.11", [lock])
    assert first == python_env.fingerprint(tmp_path, "3.11", [lock])
    assert first != python_env.fingerprint(tmp_path, "3.12", [lock])
    assert first != python_env.fingerprint(tmp_path / "moved", "3.11", [lock])
    lock.write_text("a==2")
    assert first != python_env.fingerprint(tmp_path, "3.11", [lock])


@pytest.mark.parametrize("name", [python_env.LOCK, python_env.OLD_SERVER_LOCK])
def test_every_locked_package_carries_its_hashes(name: str) -> None:
    entries = [entry for entry in (ROOT / name).read_text().replace("\\\n", " ").splitlines() if entry[:1].isalpha()]
    assert entries
    assert [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []


def test_a_busybox_image_has_a_link_for_each_applet() -> None:
    with tarfile.open(fileobj=io.BytesIO(busybox_archive(b"program", ["sh", "busybox", "sleep"]))) as archive:
        links = {entry.name: entry.linkname for entry in archive if entry.issym()}
        program = archive.extractfile("bin/busybox")
        assert program is not None
        assert program.read() == b"program"
        assert archive.getmember("tmp").mode == 0o1777
    assert links == {"bin/sh": "busybox", "bin/sleep": "busybox"}


def test_what_make_hands_down_does_not_reach_a_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKEFLAGS", "--jobserver-auth=3,4")
    monkeypatch.setenv("KEPT", "yes")
    environment = shell.clean_environment()
    assert "MAKEFLAGS" not in environment
    assert environment["KEPT"] == "yes"


def test_a_program_that_is_not_there_or_too_slow_is_an_answer_too() -> None:
    assert shell.ask(["/nowhere/at-all"])[0] == 127
    assert shell.ask(["sleep", "30"], timeout=0.1)[0] == 124


def test_two_set_ups_at_once_take_turns(tmp_path: Path) -> None:
    waiter = "from pathlib import Path; from deploy.setup.shell import alone\nwith alone(Path({!r})): print('in')"
    with shell.alone(tmp_path):
        other = subprocess.Popen(
            [sys.executable, "-c", waiter.format(str(tmp_path))], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert other.stdout is not None
        assert "waiting for another set-up" in other.stdout.readline()
        assert other.poll() is None
    assert other.communicate(timeout=20)[0].strip() == "in"


def test_the_exit_code_says_whether_a_person_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def needs_person() -> None:
        raise shell.PersonNeeded("do this")

    def fails() -> None:
        raise shell.SetupFailed("that broke")

    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setattr(steps, "STEPS", {"person": needs_person, "broken": fails, "fine": lambda: None})
    assert [steps.main([name]) for name in ("fine", "broken", "person", "unknown")] == [0, 1, 3, 1]
    told = capsys.readouterr().err
    assert "do this" in told
    assert "failed: that broke" in told
    assert "there are: person, broken, fine" in told
