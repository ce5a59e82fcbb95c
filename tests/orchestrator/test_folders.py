"""What is given to the user that a container runs as: all of it, and nothing that a link leads to."""

import os
from pathlib import Path

from services.orchestrator.adapters.folders import give_to

OWNER = 12345, 23456


def owner_of(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


def test_all_that_lies_below_is_given_and_nothing_beyond_a_link(tmp_path: Path):
    mine, given = tmp_path / "mine", tmp_path / "given"
    (mine / "below").mkdir(parents=True)
    (given / "folder" / "deep").mkdir(parents=True)
    (given / "folder" / "file").touch()
    (given / "to-folder").symlink_to(mine)
    (given / "to-file").symlink_to(mine / "below")
    entry = tmp_path / "link"
    entry.symlink_to(mine)
    alone = tmp_path / "alone"
    alone.touch()
    give_to([given, entry, alone], OWNER)
    all_given = {given, *given.rglob("*"), entry, alone}
    assert len(all_given) == 8
    assert {owner_of(each) for each in all_given} == {OWNER}
    assert {owner_of(each) for each in (mine, mine / "below")} == {(os.getuid(), os.getgid())}
