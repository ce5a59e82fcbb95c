"""Who holds a data folder: one platform at a time, and the second one is told which process was first.

The lock is an flock, so it vanishes with the last process that has it open, by kill -9 too: a lock file that
merely lies there is no obstacle. A server that must never see a second one on its store is given the lock's
descriptor, and so holds it for as long as it lives itself.
"""

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

# How long a server may take to follow its killed platform, and a platform to die of its kill -9.
PATIENCE = 5.0
LAST_BREATH = 0.5


@dataclass(frozen=True)
class Holder:
    """`since` is UTC as in RFC 3339; `url` is where the holder answers, empty while it does not yet."""

    pid: int
    since: str
    url: str = ""


class DataHeld(RuntimeError):
    def __init__(self, folder: Path, holder: Holder | None):
        who = "another process" if holder is None else f"process {holder.pid} since {holder.since}"
        where = f" at {holder.url}" if holder is not None and holder.url else ""
        super().__init__(f"{folder} is in use by {who}{where}: stop that one first, or use another data folder")
        self.folder = folder
        self.holder = holder


class DataLock:
    """The lock on one folder, kept in its file `lock`. Also a context manager."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._file: int | None = None
        self._since = ""

    def acquire(self, *, patience: float = PATIENCE) -> None:
        """Raises `DataHeld`: after LAST_BREATH seconds if its holder lives, else after `patience`.

        A holder that is gone may have left a server that is just about to end.
        """
        file = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._lock(file, patience)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        self._since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self.announce("")

    def _lock(self, file: int, patience: float) -> None:
        begun = time.monotonic()
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                holder = _holder(file)
                alive = holder is not None and _lives(holder.pid)
                if time.monotonic() - begun > (min(patience, LAST_BREATH) if alive else patience):
                    raise DataHeld(self.folder, holder) from None
            time.sleep(0.01)

    def announce(self, url: str) -> None:
        """Lets whoever comes second know where the holder answers."""
        text = json.dumps(asdict(Holder(os.getpid(), self._since, url))).encode()
        os.pwrite(self.fileno(), text.ljust(4096), 0)

    def fileno(self) -> int:
        """For handing the lock on to a child process (`pass_fds`)."""
        if self._file is None:
            raise RuntimeError(f"the lock on {self.folder} is not held")
        return self._file

    def release(self) -> None:
        """Safe to repeat."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def holder_of(folder: Path) -> Holder | None:
    """Who holds the folder now, without taking it; None if nobody does or nobody can tell."""
    try:
        file = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return _holder(file)
    finally:
        os.close(file)


def _holder(file: int) -> Holder | None:
    """As last announced; None while the very first announcement is still to come."""
    try:
        return Holder(**json.loads(os.pread(file, 4096, 0)))
    except (ValueError, TypeError):
        return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
