"""PostgreSQL's server programs, for the tests: those start servers of their own, and none stays."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.setup import debian
from deploy.setup.shell import MACHINE, PersonNeeded, SetupFailed, alone, ask, say

PACKAGE = "postgresql"
PROGRAMS = ("initdb", "postgres")
OLDEST = 15
DEBIAN_FOLDERS = Path("/usr/lib/postgresql")
# The package would make a cluster, which systemd starts with the machine: nobody asked for that.
NO_CLUSTER = Path("/etc/postgresql-common/createcluster.d/machete-setup.conf")


def programs() -> Path | None:
    """The folder with the server programs of the newest version here; Debian keeps them off the PATH."""
    on_path = (Path(each) for each in os.environ.get("PATH", os.defpath).split(os.pathsep) if each)
    return newest([*DEBIAN_FOLDERS.glob("*/bin"), *on_path])


def newest(folders: Iterable[Path]) -> Path | None:
    """The one whose server is newest, of those that hold all of `PROGRAMS` in a version that will do."""
    whole = [each for each in folders if all(shutil.which(name, path=str(each)) for name in PROGRAMS)]
    versions = {each: version for each in whole if (version := _version(each)) >= OLDEST}
    return max(versions, key=lambda each: versions[each], default=None)


def _version(folder: Path) -> int:
    """As in `postgres (PostgreSQL) 15.18`; 0 if it does not say."""
    found = re.search(r"PostgreSQL\)? (\d+)", ask([str(folder / "postgres"), "--version"])[1])
    return int(found[1]) if found else 0


def ensure() -> None:
    there = programs()
    if there is not None:
        return say(f"postgres: the server's programs are in {there}")
    if os.geteuid() != 0 or not debian.is_bookworm():
        raise PersonNeeded(
            "the programs of a PostgreSQL server are missing, and only root on Debian 12 can install them here: "
            f"put initdb and postgres, {OLDEST} or newer, on the PATH"
        )
    with alone(MACHINE), _no_cluster():
        debian.ensure_packages([PACKAGE])
    if programs() is None:
        raise SetupFailed(f"after installing {PACKAGE} there is no initdb and postgres below {DEBIAN_FOLDERS}")


@contextmanager
def _no_cluster() -> Iterator[None]:
    NO_CLUSTER.parent.mkdir(parents=True, exist_ok=True)
    NO_CLUSTER.write_text("create_main_cluster = false\n")
    try:
        yield
    finally:
        NO_CLUSTER.unlink(missing_ok=True)
