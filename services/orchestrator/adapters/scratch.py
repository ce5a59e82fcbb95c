"""Files that a client of the engine is told of for as long as one call lasts; a tool's variables are among them."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from libs.runtime.work_folders import sweep, work_folder

_PREFIX = "scratch-"


@contextmanager
def scratch_folder(home: Path) -> Generator[Path]:
    """A new folder below `home`, gone afterwards. What others left who were killed goes before."""
    sweep(home, _PREFIX)
    with work_folder(home, _PREFIX) as folder:
        yield folder
