"""Where a bench happens: a folder, ports and labels of its own, and nothing left behind.

Everything made on the engine carries the bench's label, or the instance of a platform that it started, which is
written down first. A bench that was killed leaves its folder; the next one cleans up behind it.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path

from bench import engine
from libs.runtime.datalock import DataHeld, DataLock

PREFIX = "machete-bench-"
LABEL = "io.machete.bench"
INSTANCE_LABEL = "io.machete.instance"


@dataclass(frozen=True)
class Stage:
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def label(self) -> str:
        return f"{LABEL}={self.name}"

    def fresh(self, name: str) -> Path:
        """An empty folder of this name."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def data(self, name: str) -> Path:
        """A data folder for a platform, whose NATS server leaves the usual port to others."""
        folder = self.fresh(name)
        (folder / "nats").mkdir(mode=0o700)
        (folder / "nats" / "port").write_text(str(free_port()))
        return folder

    def environment(self, **more: str) -> dict[str, str]:
        """Ours without what anybody has set for a platform of his own.

        Python keeps its bytecode, as it does where nobody forbids it: what was imported once is compiled from then on.
        """
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MACHETE_")}
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)
        return {**inherited, "PYTHONPYCACHEPREFIX": str(self.folder / "bytecode"), **more}

    def remember(self, instance: str) -> None:
        """A platform of this instance id runs for the bench: what it makes is to be removed at the end."""
        with (self.folder / "instances").open("a") as known:
            known.write(f"{instance}\n")

    def clean(self) -> None:
        known = self.folder / "instances"
        instances = known.read_text().split() if known.exists() else []
        for label in (self.label, *(f"{INSTANCE_LABEL}={instance}" for instance in dict.fromkeys(instances))):
            engine.remove_labelled(label)


@contextmanager
def stage() -> Generator[Stage]:
    _clean_up_after_the_killed()
    with ExitStack() as held:
        with _one_at_a_time():  # until it is locked, nobody can tell a new folder from one that was left behind
            folder = Path(tempfile.mkdtemp(prefix=PREFIX))
            held.enter_context(DataLock(folder))
        made = Stage(folder)
        try:
            yield made
        finally:
            made.clean()
            shutil.rmtree(folder)


def _clean_up_after_the_killed() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with _one_at_a_time():
            try:
                with DataLock(folder):
                    Stage(folder).clean()
                    shutil.rmtree(folder)
            except (DataHeld, FileNotFoundError):  # it is in use, or gone since
                continue


@contextmanager
def _one_at_a_time() -> Generator[None]:
    """Of all benches of this user, while they look for, make or remove folders."""
    with (Path(tempfile.gettempdir()) / f"{PREFIX.rstrip('-')}.{os.getuid()}.lock").open("a") as lock:
        flock(lock, LOCK_EX)
        yield


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
