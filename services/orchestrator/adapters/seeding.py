"""Fills a tool's data folder with what its repository ships, where nothing lies yet."""

import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

from services.orchestrator.adapters.folders import refuse_links
from services.orchestrator.adapters.unowned import Unowned
from services.orchestrator.domain.stacks.places import Place

_HALF = ".seeding"


def seed(places: Iterable[Place], repository: Path | None, data: Path) -> list[Path]:
    """Make each place that is missing, and name it: a copy of what the repository, if any, has there, else a folder.

    What is there stays as it is. All at once or not at all: a copy that was broken off is begun anew. Raises
    `Failure` where a link stands in the way: a tool could have put it there, to be given what lies beyond.
    """
    made: list[Path] = []
    places = list(places)
    for place in places:
        target = data / place.path
        refuse_links(target, data)
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_name(f".{target.name}{_HALF}")
        _remove(half)
        _copy(repository / place.origin if repository else None, half)
        _make_mount_points(place, places, half)
        half.rename(target)
        made.append(target)
    return made


def seed_noting(places: Collection[Place], repository: Path | None, data: Path, unowned: Unowned) -> list[Path]:
    """As `seed`, and names those too that whoever made them was cut off before giving them to their users."""
    noted = unowned.note([place.path for place in places if not (data / place.path).exists()])
    seed(places, repository, data)
    return [data / place.path for place in places if place.path in noted]


def _copy(origin: Path | None, target: Path) -> None:
    """Links within a folder stay links: the tool resolves them in its own file system."""
    real = origin.resolve() if origin else None
    if real and real.is_dir():
        shutil.copytree(real, target, symlinks=True)
    elif real and real.is_file():
        shutil.copy2(real, target)
    else:
        target.mkdir()


def _make_mount_points(place: Place, others: Iterable[Place], half: Path) -> None:
    """For what is mounted over a place within it, which nobody could make once it is mounted read-only."""
    origin = PurePosixPath(place.origin)
    for other in others:
        if other == place or not PurePosixPath(other.origin).is_relative_to(origin):
            continue
        point = half / PurePosixPath(other.origin).relative_to(origin)
        way = [part for part in (point, *point.parents) if part.is_relative_to(half)]
        if all(not os.path.lexists(part) or (part.is_dir() and not part.is_symlink()) for part in way):
            point.mkdir(parents=True, exist_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
