"""Which PostgreSQL server set-up finds on a machine."""

from pathlib import Path

from deploy.setup import postgres


def installation(folder: Path, version: str, *, without: str = "") -> Path:
    folder.mkdir(parents=True)
    for name in postgres.PROGRAMS:
        if name != without:
            program = folder / name
            program.write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
            program.chmod(0o755)
    return folder


def test_the_newest_server_is_chosen_and_none_that_is_too_old_or_not_whole(tmp_path: Path) -> None:
    old = installation(tmp_path / "9", "9.6.24")
    good = installation(tmp_path / "15", "15.18 (Debian 15.18-0+deb12u1)")
    best = installation(tmp_path / "17", "17beta2")
    part = installation(tmp_path / "18", "18.1", without="initdb")
    assert postgres.newest([part, old, best, good]) == best
    assert postgres.newest([old, good, part, tmp_path / "missing"]) == good
    assert postgres.newest([old, part]) is None


def test_after_set_up_there_is_a_server_to_test_with() -> None:
    folder = postgres.programs()
    assert folder is not None
    assert postgres.newest([folder]) == folder
